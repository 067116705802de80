import type { EventEmitter } from 'node:events';
import { connect, type Socket } from 'node:net';
import { WebSocket } from 'ws';
import type { RudeServer } from './rude-server.ts';

/** One thing that ends before its time: opened through the data plane, cut, and resolved when this side has seen the end. */
type Cut = (port: number, server: RudeServer, mark: string) => Promise<void>;

/** Every way in which a WebSocket is cut: by the client or by the instance, after the upgrade is answered or before. */
export const WEBSOCKET_CUTS: Cut[] = [
  (port) => talked(port, '/echo', (websocket) => websocket.close()),
  (port) => talked(port, '/echo', (websocket) => websocket.terminate()),
  (port) => talked(port, '/echo', (_websocket, socket) => socket.resetAndDestroy()),
  (port) => talked(port, '/close'),
  (port) => talked(port, '/cut'),
  (port) => talked(port, '/reset'),
  (port) => talked(port, '/unanswered-cut'),
  (port) => talked(port, '/unanswered-reset'),
  (port, server, mark) => unanswered(port, server, mark, (socket) => socket.destroy()),
  (port, server, mark) => unanswered(port, server, mark, (socket) => socket.resetAndDestroy()),
];

/** A client that has enough of a download after its first piece, and goes with or without a reset. */
export const DOWNLOAD_CUTS: Cut[] = [
  (port) => aborted(port, (socket) => socket.destroy()),
  (port) => aborted(port, (socket) => socket.resetAndDestroy()),
];

/** A WebSocket that says something; `cut` answers the answer, else the instance ends it. */
async function talked(
  port: number,
  path: string,
  cut?: (websocket: WebSocket, socket: Socket) => void,
): Promise<void> {
  const socket = connect(port, '127.0.0.1');
  const websocket = new WebSocket(`ws://127.0.0.1:${port}${path}`, {
    createConnection: () => socket,
    perMessageDeflate: false,
  });
  const gone = closed(websocket);
  websocket.once('open', () => websocket.send('hello'));
  let met = false;
  websocket.once('message', () => {
    met = true;
    cut?.(websocket, socket);
  });
  await gone;
  if (cut && !met) throw new Error(`the WebSocket of ${path} ended before it was cut`);
}

async function unanswered(
  port: number,
  server: RudeServer,
  mark: string,
  cut: (socket: Socket) => void,
): Promise<void> {
  const asked = server.asked(mark);
  const socket = connect(port, '127.0.0.1');
  const gone = closed(socket);
  socket.write(
    `GET /unanswered?${mark} HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n` +
      'Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n',
  );
  await asked;
  cut(socket);
  await gone;
}

async function aborted(port: number, cut: (socket: Socket) => void): Promise<void> {
  const socket = connect(port, '127.0.0.1');
  const gone = closed(socket);
  socket.write('GET /download HTTP/1.1\r\nHost: a\r\n\r\n');
  let head = '';
  socket.once('data', (piece) => {
    head = piece.toString('latin1', 0, 12);
    cut(socket);
  });
  await gone;
  if (head !== 'HTTP/1.1 200') throw new Error(`the download was answered with ${head || 'nothing'}`);
}

/** However it ends: a connection that breaks is what is wanted. */
function closed(connection: EventEmitter): Promise<void> {
  connection.on('error', () => undefined);
  return new Promise((resolve) => connection.once('close', () => resolve()));
}
