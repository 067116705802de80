import { once } from 'node:events';
import { createServer, type IncomingMessage } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import { type WebSocket, WebSocketServer } from 'ws';

/** What a path does to a WebSocket: after its first message, or instead of answering the upgrade. */
const AFTER: Record<string, (websocket: WebSocket, socket: Socket) => void> = {
  '/echo': (websocket) => websocket.send('echo'),
  '/close': (websocket) => websocket.close(1000),
  '/cut': (websocket) => websocket.terminate(),
  '/reset': (_websocket, socket) => socket.resetAndDestroy(),
};
const INSTEAD: Record<string, (socket: Socket) => void> = {
  '/unanswered-cut': (socket) => socket.destroy(),
  '/unanswered-reset': (socket) => socket.resetAndDestroy(),
};

/** An instance that ends WebSockets in every way there is, and has downloads without an end. */
export interface RudeServer {
  port: number;
  /** connections that are open now */
  connections(): number;
  /** Resolves when the upgrade with this mark has come to `/unanswered`, where none is answered. */
  asked(mark: string): Promise<void>;
  end(): Promise<void>;
}

export async function startRudeServer(): Promise<RudeServer> {
  const sockets = new Set<Socket>();
  const waiting = new Map<string, () => void>();
  const websockets = new WebSocketServer({ noServer: true });
  const server = createServer((_req, res) => {
    const more = (): void => {
      while (!res.destroyed && res.write(PIECE));
    };
    res.writeHead(200).on('drain', more).on('error', ignore);
    more();
  });
  server.on('connection', (socket) => {
    sockets.add(socket);
    socket.once('close', () => sockets.delete(socket));
  });
  server.on('upgrade', (req: IncomingMessage, socket: Socket, head: Buffer) => {
    socket.on('error', ignore);
    const { pathname, search } = new URL(req.url ?? '', 'http://rude');
    const after = AFTER[pathname];
    if (after)
      return websockets.handleUpgrade(req, socket, head, (websocket) => {
        websocket.on('error', ignore).once('message', () => after(websocket, socket));
      });
    const instead = INSTEAD[pathname];
    if (instead) return instead(socket);
    // the client goes away; nobody else would notice here
    socket.resume().once('end', () => socket.end());
    waiting.get(search)?.();
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    port: (server.address() as AddressInfo).port,
    connections: () => sockets.size,
    asked: (mark) =>
      new Promise((resolve) => {
        waiting.set(`?${mark}`, () => {
          waiting.delete(`?${mark}`);
          resolve();
        });
      }),
    async end() {
      server.close();
      for (const socket of sockets) socket.destroy();
      if (server.listening) await once(server, 'close');
    },
  };
}

const PIECE = Buffer.alloc(65_536, 'x');
const ignore = (): void => undefined;
