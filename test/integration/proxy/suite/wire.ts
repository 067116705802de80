import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { onTestFinished } from 'vitest';
import { until } from '../scene.ts';

/** A bare connection of a test that keeps all that it got, and what became of it. */
export interface Bare {
  socket: Socket;
  /** in latin1 */
  received: () => string;
  /** the other side will say no more */
  ended: () => boolean;
  closed: () => boolean;
}

/** A bare client's connection. */
export async function dial(port: number): Promise<Bare> {
  const socket = connect({ port, host: '127.0.0.1', allowHalfOpen: true });
  const bare = listenTo(socket);
  await once(socket, 'connect');
  return bare;
}

/** Keeps what comes on a socket, until the end of the test. */
export function listenTo(socket: Socket): Bare {
  onTestFinished(() => void socket.destroy());
  const pieces: Buffer[] = [];
  let whole = '';
  let ended = false;
  socket.on('data', (piece: Buffer) => pieces.push(piece));
  socket.on('error', () => undefined);
  socket.once('end', () => {
    ended = true;
  });
  return {
    socket,
    received: () => {
      whole += Buffer.concat(pieces.splice(0)).toString('latin1');
      return whole;
    },
    ended: () => ended,
    closed: () => socket.closed,
  };
}

/** The answer to these bytes, as far as it came with its head. */
export async function headOf(port: number, request: string): Promise<string> {
  const wire = await dial(port);
  wire.socket.write(request, 'latin1');
  await until('the answer', () => wire.received().includes('\r\n\r\n') || wire.ended() || wire.closed());
  wire.socket.destroy();
  return wire.received();
}

/** All that comes back for these bytes until the other side ends. */
export async function answerTo(port: number, request: string, within?: number): Promise<string> {
  const wire = await dial(port);
  wire.socket.write(request, 'latin1');
  await until('the end of the answer', () => wire.ended() || wire.closed(), within);
  wire.socket.destroy();
  return wire.received();
}

/** An instance that says what the test says. */
export interface Instance {
  port: number;
  connections: Bare[];
  /** connections that are not closed */
  open: () => number;
}

/** `serve` gets every connection; `text`, all that has come on it so far. */
export async function bareInstance(serve: (bare: Bare) => void = () => undefined): Promise<Instance> {
  const connections: Bare[] = [];
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    const bare = listenTo(socket);
    connections.push(bare);
    serve(bare);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  onTestFinished(() => void server.close());
  return {
    port: (server.address() as AddressInfo).port,
    connections,
    open: () => connections.filter((each) => !each.closed()).length,
  };
}

/** An instance that answers the first request of every connection with these bytes. */
export function answering(
  answer: string,
  then: (socket: Socket) => void = () => undefined,
): Promise<Instance> {
  return bareInstance(({ socket }) => {
    socket.once('data', () => socket.write(answer, 'latin1', () => then(socket)));
  });
}

/** A port on which nobody listens. */
export async function deadPort(): Promise<{ port: number }> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return { port };
}
