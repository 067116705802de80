import { once } from 'node:events';
import { createServer, type IncomingMessage, type RequestListener, type Server } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';

/** A real HTTP server on a loopback port that can be killed as a machine is. */
export interface Backend {
  port: number;
  server: Server;
  sockets: Set<Socket>;
  /** requests whose head has arrived */
  requests: number;
  /** Breaks every connection and refuses new ones. */
  kill(): Promise<void>;
}

export async function startBackend(listener: RequestListener): Promise<Backend> {
  const sockets = new Set<Socket>();
  const server = createServer(listener);
  server.on('connection', (socket) => {
    sockets.add(socket);
    socket.once('close', () => sockets.delete(socket));
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const backend: Backend = {
    port: (server.address() as AddressInfo).port,
    server,
    sockets,
    requests: 0,
    async kill() {
      if (!server.listening) return;
      const closed = once(server, 'close');
      server.close();
      for (const socket of sockets) socket.destroy();
      await closed;
    },
  };
  server.prependListener('request', () => {
    backend.requests++;
  });
  return backend;
}

/** Answers with its revision, as an application under unideploy does. */
export function revisionListener(revision: string, body = `revision ${revision}\n`): RequestListener {
  return (req, res) => {
    req.resume();
    req.once('end', () => res.writeHead(200, { 'x-unideploy-revision': revision }).end(body));
  };
}

export async function bodyOf(message: IncomingMessage): Promise<string> {
  const parts: Buffer[] = [];
  for await (const part of message) parts.push(part as Buffer);
  return Buffer.concat(parts).toString();
}
