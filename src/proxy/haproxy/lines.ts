import { once } from 'node:events';
import { rename, rm } from 'node:fs/promises';
import { createServer, type Server, type Socket } from 'node:net';

/** How a request (or a connection, in `tcp` mode) ended. */
export interface RequestLine {
  backend: string;
  /** `<NOSRV>` where none had it */
  server: string;
  status: number;
  /** milliseconds from the head of the request to the end of the answer; -1: it did not come that far */
  took: number;
  /** HAProxy's termination state */
  ended: string;
  /** how often it was asked for again */
  retries: number;
  /** bytes from the client, and to it */
  received: number;
  sent: number;
  /** milliseconds since 1970 */
  at: number;
  /** the beginning of its line of the access log, JSON; undefined where none is wanted */
  access: string | undefined;
}

export interface LineReader {
  request(line: RequestLine): void;
  /** a server was taken out by what HAProxy saw of it */
  down(backend: string, server: string): void;
}

/**
 * Listens for what HAProxy processes tell of their requests. They keep up to 16 MB of it while nobody listens. The last
 * controller to listen has it: new processes find that one.
 */
export async function listenForLines(path: string, reader: LineReader): Promise<{ close(): void }> {
  const sockets = new Set<Socket>();
  const server: Server = createServer((socket) => {
    sockets.add(socket);
    socket.unref();
    socket.setEncoding('utf8');
    let rest = '';
    socket.on('data', (piece) => {
      const lines = (rest + String(piece)).split('\n');
      rest = lines.pop() ?? '';
      for (const line of lines) readLine(line, reader);
    });
    socket.on('error', () => undefined);
    socket.on('close', () => sockets.delete(socket));
  });
  // made under a name of its own: HAProxy never finds a socket that nobody listens on yet
  const own = `${path}.${process.pid}`;
  await rm(own, { force: true });
  const umask = process.umask(0o177);
  server.listen(own);
  process.umask(umask);
  await once(server, 'listening');
  await rename(own, path);
  server.unref();
  return {
    close() {
      server.close();
      for (const socket of sockets) socket.destroy();
    },
  };
}

function readLine(line: string, reader: LineReader): void {
  const match = REQUEST.exec(line);
  if (match) {
    const [, backend = '', server = '', status, took, ended = '', retried, received, sent, at, access = '-'] =
      match;
    reader.request({
      backend,
      server,
      status: Number(status),
      took: Number(took),
      ended,
      retries: Number(retried),
      received: Number(received),
      sent: Number(sent),
      at: Number(at),
      access: access === '-' ? undefined : access,
    });
    return;
  }
  const down = /^Server ([^\s/]+)\/(\S+) is DOWN/.exec(line);
  if (down) reader.down(down[1] ?? '', down[2] ?? '');
}

const REQUEST = /^(\S+) (\S+) (-?\d+) ([+]?-?\d+) (\S{4}) [+]?(\d+) [+]?(\d+) [+]?(\d+) (\d+) (.*)$/;
