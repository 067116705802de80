import { spawn } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { expect, onTestFinished, test } from 'vitest';
import { Edge } from './edge.ts';
import { openWire, route, until, type Wire } from './scene.ts';

interface Listening {
  port: number;
  sockets: Socket[];
  /** connections that are not closed */
  open: () => number;
}

/** An instance that does with every connection what the test says. */
async function instance(serve: (socket: Socket) => void): Promise<Listening> {
  const sockets: Socket[] = [];
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    sockets.push(socket);
    socket.on('error', () => undefined);
    serve(socket);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  onTestFinished(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  const open = () => sockets.filter((socket) => !socket.closed).length;
  return { port: (server.address() as AddressInfo).port, sockets, open };
}

const echo = () => instance((socket) => socket.pipe(socket));

/** A port on which nothing listens. */
async function nobody(): Promise<{ port: number }> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return { port };
}

/** A port whose listener takes no connections any more: the kernel leaves further ones unanswered. */
async function full(): Promise<{ port: number }> {
  const child = spawn(process.execPath, ['-e', STUCK], { stdio: ['ignore', 'pipe', 'inherit'] });
  onTestFinished(async () => {
    const gone = once(child, 'exit');
    child.kill('SIGKILL');
    await gone;
  });
  const [line] = await once(child.stdout, 'data');
  const port = Number(line);
  for (let waiting = false; !waiting; ) {
    const socket = connect(port, '127.0.0.1');
    socket.on('error', () => undefined);
    onTestFinished(() => {
      socket.destroy();
    });
    waiting = await Promise.race([
      once(socket, 'connect').then(() => false),
      new Promise<boolean>((resolve) => setTimeout(resolve, 300, true)),
    ]);
  }
  return { port };
}

const STUCK = `
const server = require('node:net').createServer().listen({ port: 0, host: '127.0.0.1', backlog: 1 }, () => {
  require('node:fs').writeSync(1, String(server.address().port));
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);
});`;

async function client(edge: Edge): Promise<Wire & { ended: () => boolean; error: () => string | undefined }> {
  const wire = await openWire(edge.port);
  wire.socket.allowHalfOpen = true;
  let ended = false;
  let error: string | undefined;
  wire.socket.once('end', () => {
    ended = true;
  });
  wire.socket.once('error', (thrown: NodeJS.ErrnoException) => {
    error = thrown.code;
  });
  onTestFinished(() => {
    wire.socket.destroy();
  });
  return { ...wire, ended: () => ended, error: () => error };
}

const digest = (bytes: Buffer) => createHash('sha256').update(bytes).digest('hex');

test('a slow reader bounds what its sender can send, both ways, and nothing is lost', async () => {
  const app = await instance((socket) => socket.pause());
  const edge = await Edge.tcp([route('a', app)]);
  const wire = await client(edge);
  await until('the instance is there', () => app.sockets.length === 1);
  const there = app.sockets[0] as Socket;
  wire.socket.removeAllListeners('data').pause();
  const message = randomBytes(64 << 20);
  const held = () => [...edge.clients].reduce((sum, socket) => sum + socket.readableLength, 0);
  for (const [from, to] of [
    [wire.socket, there],
    [there, wire.socket],
  ] as const) {
    // in pieces: one write would count as unsent until all of it is
    let sent = 0;
    const more = () => {
      while (sent < message.length) {
        sent += 1 << 16;
        if (!from.write(message.subarray(sent - (1 << 16), sent))) return;
      }
    };
    from.on('drain', more);
    more();
    let before = -1;
    await until('the sender cannot go on', () => {
      const now = sent - from.writableLength;
      const same = before === now;
      before = now;
      return same && from.writableNeedDrain;
    });
    // most of it is in the buffers of the kernel's, four of them
    expect(sent).toBeLessThan(32 << 20);
    expect(held()).toBeLessThan(1 << 20);
    const pieces: Buffer[] = [];
    let size = 0;
    to.on('data', (piece) => {
      pieces.push(piece);
      size += piece.length;
    });
    to.resume();
    await until('all of it', () => size === message.length, 20_000);
    expect(digest(Buffer.concat(pieces))).toBe(digest(message));
    from.off('drain', more);
    to.removeAllListeners('data').pause();
  }
});

test('an instance that takes no connection in time is passed over', async () => {
  const { port } = await full();
  const good = await echo();
  const traffic = { timeouts: { connect: 200, response: 1, head: 1, body: 1, idle: 1 } };
  const edge = await Edge.tcp([route('full', { port }), route('good', good)], traffic);
  const wires = [await client(edge), await client(edge)];
  for (const wire of wires) wire.socket.write('hello');
  await until('both are served', () => wires.every((wire) => wire.received() === 'hello'));
  expect(good.sockets).toHaveLength(2);
});

test('where every instance refuses, the connection is closed', async () => {
  const routes = [route('a', await nobody()), route('b', await nobody())];
  const edge = await Edge.tcp(routes);
  const wire = await client(edge);
  wire.socket.write('hello');
  await until('the end', () => wire.ended() || wire.closed());
  expect(wire.received()).toBe('');
  expect(edge.service).toMatchObject({ requests: 1, failures: 1 });
  expect(edge.inFlight(routes)).toEqual([]);
  expect(edge.clients.size).toBe(0);
});

test('resets are passed on as resets', async () => {
  const errors: (string | undefined)[] = [];
  const app = await instance((socket) => {
    socket.write('hello');
    socket.resume().once('error', (error: NodeJS.ErrnoException) => errors.push(error.code));
  });
  const routes = [route('a', app)];
  const edge = await Edge.tcp(routes);
  const one = await client(edge);
  await until('the instance is heard', () => one.received() === 'hello');
  one.socket.resetAndDestroy();
  await until('the instance is reset', () => errors.length === 1);
  const two = await client(edge);
  await until('the instance is heard', () => two.received() === 'hello');
  app.sockets[1]?.resetAndDestroy();
  await until('the client is reset', () => two.closed());
  expect([errors[0], two.error()]).toEqual(['ECONNRESET', 'ECONNRESET']);
  await until('nothing is in flight', () => edge.inFlight(routes).length === 0);
  expect([app.open(), edge.clients.size]).toEqual([0, 0]);
});

test('a client that goes away amid an answer ends it at the instance at once', async () => {
  const app = await instance((socket) => {
    const more = () => {
      while (socket.write(Buffer.alloc(1 << 16)));
    };
    socket.on('drain', more);
    more();
  });
  const routes = [route('a', app)];
  const edge = await Edge.tcp(routes);
  const wire = await client(edge);
  await until('the answer has begun', () => wire.received().length > 0);
  wire.socket.destroy();
  await until('the instance is let go', () => app.open() === 0, 1_000);
  await until('nothing is in flight', () => edge.inFlight(routes).length === 0);
});

test('a client that goes on sending to an instance that has answered and gone gets the whole answer', async () => {
  const answer = randomBytes(400_000);
  const app = await instance((socket) => socket.resume().end(answer));
  const routes = [route('a', app)];
  const edge = await Edge.tcp(routes);
  const wire = await client(edge);
  wire.socket.pause();
  await until('the answer is on its way, to its end', () =>
    [...edge.clients].some(({ writableEnded }) => writableEnded),
  );
  app.sockets[0]?.resetAndDestroy();
  await until('the instance takes nothing more', () => {
    wire.socket.write('more');
    return [...edge.clients].every((socket) => socket.listenerCount('data') === 0);
  });
  wire.socket.resume();
  await until('the answer and its end', () => wire.ended());
  expect(digest(Buffer.from(wire.received(), 'latin1'))).toBe(digest(answer));
  wire.socket.end('enough');
  await until('nothing is in flight', () => edge.inFlight(routes).length === 0 && edge.clients.size === 0);
  expect(wire.error()).toBeUndefined();
});
