import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { type AddressInfo, createServer, type Socket } from 'node:net';
import { expect, onTestFinished, test } from 'vitest';
import { WebSocket, WebSocketServer } from 'ws';
import type { Route } from '../../../src/proxy/port.ts';
import { Edge } from './edge.ts';
import { openWire, route, until, type Wire } from './scene.ts';

const ASK = 'GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n';
const YES = 'HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n';
const GOODBYE = Buffer.from([0x88, 2, 0x03, 0xe9]).toString('latin1');

/** An application with WebSockets. */
async function application(): Promise<{ routes: Route[]; server: WebSocketServer }> {
  const server = new WebSocketServer({ host: '127.0.0.1', port: 0, maxPayload: 1 << 30 });
  await once(server, 'listening');
  onTestFinished(() => {
    for (const socket of server.clients) socket.terminate();
    server.close();
  });
  return { routes: [route('a', server.address() as AddressInfo)], server };
}

/** An instance whose every byte the test says. */
async function bareInstance(): Promise<{ routes: Route[]; sockets: Socket[]; received: () => string }> {
  const sockets: Socket[] = [];
  let received = '';
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    sockets.push(socket);
    socket.on('error', () => undefined);
    socket.on('data', (piece) => {
      received += piece.toString('latin1');
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  onTestFinished(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  return { routes: [route('a', server.address() as AddressInfo)], sockets, received: () => received };
}

/** A client and the application's end of the same connection. */
async function connected(edge: Edge, server: WebSocketServer): Promise<[Peer, Peer]> {
  const there = once(server, 'connection');
  const socket = new WebSocket(`ws://127.0.0.1:${edge.port}/`, { maxPayload: 1 << 30 });
  const client = new Peer(socket);
  onTestFinished(() => socket.terminate());
  const [theirs] = (await there) as [WebSocket];
  const instance = new Peer(theirs);
  await until('the client is connected', () => socket.readyState === WebSocket.OPEN);
  return [client, instance];
}

/** One end of a WebSocket, and what became of it. */
class Peer {
  readonly socket: WebSocket;
  closed: number | undefined;
  error: Error | undefined;

  constructor(socket: WebSocket) {
    this.socket = socket;
    socket.once('close', (code) => {
      this.closed = code;
    });
    socket.on('error', (error) => {
      this.error = error;
    });
  }
}

/** A bare client and instance with an open WebSocket between them. */
async function bare(): Promise<{
  edge: Edge;
  wire: Wire;
  instance: Socket;
  routes: Route[];
  received: () => string;
}> {
  const { routes, sockets, received } = await bareInstance();
  const edge = await Edge.webSockets(routes);
  const wire = await openWire(edge.port);
  wire.socket.write(ASK);
  await until('the instance was asked', () => received().endsWith('\r\n\r\n'));
  const instance = sockets[0] as Socket;
  instance.write(YES);
  await until('the upgrade is answered', () => wire.received().endsWith('\r\n\r\n'));
  const [before, toClient] = [received().length, wire.received().length];
  return {
    edge,
    wire: { ...wire, received: () => wire.received().slice(toClient) },
    instance,
    routes,
    received: () => received().slice(before),
  };
}

function goAway(edge: Edge, routes: Route[]): void {
  for (const work of edge.inFlight(routes)) (work as unknown as { goAway(): void }).goAway();
}

async function nothingLeft(edge: Edge, routes: Route[]): Promise<void> {
  await until('nothing is left', () => edge.inFlight(routes).length === 0 && edge.clients.size === 0);
}

/** The text of masked frames with up to 125 bytes each. */
function unmasked(bytes: string): { opcode: number; payload: Buffer }[] {
  const frames = [];
  let rest = Buffer.from(bytes, 'latin1');
  while (rest.length > 0) {
    const length = (rest[1] as number) & 0x7f;
    const mask = rest.subarray(2, 6);
    const payload = rest.subarray(6, 6 + length).map((byte, i) => byte ^ (mask[i % 4] as number));
    frames.push({ opcode: (rest[0] as number) & 0x0f, payload: Buffer.from(payload) });
    rest = rest.subarray(6 + length);
  }
  return frames;
}

test('told to go, a WebSocket is closed with 1001 at both ends', async () => {
  const { routes, server } = await application();
  const edge = await Edge.webSockets(routes);
  const [client, instance] = await connected(edge, server);
  instance.socket.on('message', (message) => instance.socket.send(message));
  client.socket.send('hello');
  const [echo] = await once(client.socket, 'message');
  expect(String(echo)).toBe('hello');
  goAway(edge, routes);
  await until('both are closed', () => client.closed !== undefined && instance.closed !== undefined);
  expect([client.closed, instance.closed]).toEqual([1001, 1001]);
  expect([client.error, instance.error]).toEqual([undefined, undefined]);
  await nothingLeft(edge, routes);
  expect(edge.service.failures).toBe(0);
});

test('in the midst of a large fragmented message to a client that does not read, all the same', async () => {
  const { routes, server } = await application();
  const edge = await Edge.webSockets(routes);
  const [client, instance] = await connected(edge, server);
  client.socket.pause();
  const fragment = Buffer.alloc(1 << 20, 'x');
  for (let n = 0; n < 32; n++) instance.socket.send(fragment, { fin: false });
  let before = -1;
  await until('the instance cannot send on', () => {
    const same = instance.socket.bufferedAmount > 0 && before === instance.socket.bufferedAmount;
    before = instance.socket.bufferedAmount;
    return same;
  });
  goAway(edge, routes);
  client.socket.resume();
  await until('both are closed', () => client.closed !== undefined && instance.closed !== undefined);
  expect([client.closed, instance.closed]).toEqual([1001, 1001]);
  expect([client.error, instance.error]).toEqual([undefined, undefined]);
  await nothingLeft(edge, routes);
});

test('in the midst of a large fragmented message to an instance that does not read, all the same', async () => {
  const { routes, server } = await application();
  const edge = await Edge.webSockets(routes);
  const [client, instance] = await connected(edge, server);
  instance.socket.pause();
  const fragment = Buffer.alloc(1 << 20, 'x');
  for (let n = 0; n < 32; n++) client.socket.send(fragment, { fin: false });
  let before = -1;
  await until('the client cannot send on', () => {
    const same = client.socket.bufferedAmount > 0 && before === client.socket.bufferedAmount;
    before = client.socket.bufferedAmount;
    return same;
  });
  goAway(edge, routes);
  await until('the client was told', () => client.socket.readyState === WebSocket.CLOSING);
  instance.socket.resume();
  await until('both are closed', () => client.closed !== undefined && instance.closed !== undefined);
  expect([client.closed, instance.closed]).toEqual([1001, 1001]);
  expect([client.error, instance.error]).toEqual([undefined, undefined]);
  await nothingLeft(edge, routes);
});

test('the frame under way is finished, the goodbye comes next, and nothing after it', async () => {
  const frame = Buffer.concat([Buffer.from([0x02, 126, 0, 200]), Buffer.alloc(200, 0x88)]);
  for (const split of [1, 2, 3, 4, 5, 203]) {
    const { edge, wire, instance, routes, received } = await bare();
    instance.write(frame.subarray(0, split));
    await until('the first part arrives', () => wire.received().length === split);
    goAway(edge, routes);
    expect(wire.received()).toHaveLength(split);
    instance.write(Buffer.concat([frame.subarray(split), frame]));
    instance.write(frame);
    await until('the goodbye', () => wire.received().length >= frame.length + GOODBYE.length);
    // the client answers with a frame of its own before its close frame, and with what is no frame any more
    wire.socket.write(
      Buffer.from([0x81, 0x82, 0, 0, 0, 0, 0x68, 0x69, 0x88, 0x82, 0, 0, 0, 0, 0x03, 0xe9, 1]),
    );
    instance.once('end', () => instance.end(frame));
    await until('the client is let go', () => wire.closed());
    expect(wire.received()).toBe(frame.toString('latin1') + GOODBYE);
    await nothingLeft(edge, routes);
    expect(unmasked(received())).toEqual([
      { opcode: 1, payload: Buffer.from('hi') },
      { opcode: 8, payload: Buffer.from([0x03, 0xe9]) },
    ]);
  }
});

test('a client that leaves without a goodbye: the instance is told in its place, unless within a frame', async () => {
  for (const leave of ['end', 'resetAndDestroy'] as const)
    for (const begun of [0, 3]) {
      const { edge, wire, instance, routes, received } = await bare();
      instance.once('end', () => instance.end());
      wire.socket.write(Buffer.from([0x82, 0x84, 0]).subarray(0, begun));
      await until('what was begun has arrived', () => received().length === begun);
      goAway(edge, routes);
      await until('the goodbye', () => wire.received() === GOODBYE);
      wire.socket[leave]();
      await nothingLeft(edge, routes);
      if (begun > 0) expect(received()).toHaveLength(begun);
      else expect(unmasked(received())).toEqual([{ opcode: 8, payload: Buffer.from([0x03, 0xe9]) }]);
    }
});

test('clients and instances that do not answer the goodbye are cut off within seconds', async () => {
  const silent = await bare();
  const stuck = await bare();
  const begun = Date.now();
  // an instance that does not even read, in the midst of a message; the client's part fills every buffer on the way
  stuck.instance.pause();
  stuck.wire.socket.write(Buffer.concat([Buffer.from([0x82, 0xff]), Buffer.alloc(16 << 20)]));
  goAway(silent.edge, silent.routes);
  goAway(stuck.edge, stuck.routes);
  for (const { edge, routes, wire } of [silent, stuck]) {
    await until('the client is cut off', () => wire.closed(), 10_000);
    await until('nothing is left', () => edge.inFlight(routes).length === 0, 5_000);
    expect(wire.received()).toBe(GOODBYE);
  }
  expect(Date.now() - begun).toBeGreaterThan(4_000);
  expect(unmasked(silent.received())).toEqual([{ opcode: 8, payload: Buffer.from([0x03, 0xe9]) }]);
});

test('where the instance has said goodbye itself, its own is the only one', async () => {
  const { edge, wire, instance, routes, received } = await bare();
  const own = Buffer.from([0x88, 2, 0x03, 0xe8]);
  instance.write(own);
  await until('the goodbye', () => wire.received() === own.toString('latin1'));
  goAway(edge, routes);
  wire.socket.write(Buffer.from([0x88, 0x82, 0, 0, 0, 0, 0x03, 0xe8]));
  instance.once('end', () => instance.end());
  await nothingLeft(edge, routes);
  expect(wire.received()).toBe(own.toString('latin1'));
  expect(unmasked(received())).toEqual([{ opcode: 8, payload: Buffer.from([0x03, 0xe8]) }]);
});

test('an instance that dies while it is told to go takes the connection with it', async () => {
  const { edge, wire, instance, routes } = await bare();
  instance.write(Buffer.from([0x82, 100, 1]));
  await until('a part of a frame', () => wire.received().length === 3);
  goAway(edge, routes);
  instance.resetAndDestroy();
  await until('the client is let go', () => wire.closed());
  expect(wire.received()).toHaveLength(3);
  await nothingLeft(edge, routes);
});

test('one whose upgrade is not answered yet is told when it is', async () => {
  const { routes, sockets, received } = await bareInstance();
  const edge = await Edge.webSockets(routes);
  const wire = await openWire(edge.port);
  wire.socket.write(ASK);
  await until('the instance was asked', () => received().endsWith('\r\n\r\n'));
  goAway(edge, routes);
  sockets[0]?.write(YES);
  await until('the goodbye', () => wire.received().endsWith(GOODBYE));
  expect(wire.received()).toMatch(/^HTTP\/1\.1 101 /);
});

test('frames that come with the request are counted as the others', async () => {
  const { routes, sockets, received } = await bareInstance();
  const edge = await Edge.webSockets(routes);
  const wire = await openWire(edge.port);
  wire.socket.write(Buffer.concat([Buffer.from(ASK), Buffer.from([0x81, 0x81, 0, 0, 0])]));
  await until('the instance was asked', () => received().endsWith('\r\n\r\n'));
  const head = received().length;
  const instance = sockets[0] as Socket;
  instance.write(Buffer.concat([Buffer.from(YES), Buffer.from([0x81, 3, 0x61])]));
  instance.once('end', () => instance.end());
  await until('the upgrade is answered', () => wire.received().endsWith('a'));
  wire.socket.write(Buffer.from([0, 0x62]));
  await until('the rest of the first frame', () => received().endsWith('b'));
  goAway(edge, routes);
  instance.write('bc');
  await until('the goodbye', () => wire.received().endsWith(`abc${GOODBYE}`));
  wire.socket.destroy();
  await nothingLeft(edge, routes);
  expect(unmasked(received().slice(head)).map(({ opcode }) => opcode)).toEqual([1, 8]);
});

test('neither side can flood the other: what is on the way is bounded, and all of it arrives', async () => {
  const { routes, server } = await application();
  const edge = await Edge.webSockets(routes);
  const [client, instance] = await connected(edge, server);
  const message = randomBytes(64 << 20);
  const digest = (bytes: Buffer) => createHash('sha256').update(bytes).digest('hex');
  for (const [from, to] of [
    [client, instance],
    [instance, client],
  ] as const) {
    to.socket.pause();
    from.socket.send(message);
    let before = -1;
    await until('the sender cannot go on', () => {
      const same = before === from.socket.bufferedAmount;
      before = from.socket.bufferedAmount;
      return same && before > 0;
    });
    // the buffers of the kernel's, both connections, are most of what is on the way
    expect(from.socket.bufferedAmount).toBeGreaterThan(32 << 20);
    const arrived = once(to.socket, 'message');
    to.socket.resume();
    const [whole] = (await arrived) as [Buffer];
    expect(digest(whole)).toBe(digest(message));
  }
});

test('WebSockets that are cut on either side, or told to go, leave nothing behind', async () => {
  const warnings: Error[] = [];
  const warn = (warning: Error) => warnings.push(warning);
  process.on('warning', warn);
  onTestFinished(() => {
    process.off('warning', warn);
  });
  const { routes, server } = await application();
  const edge = await Edge.webSockets(routes);
  for (let n = 0; n < 60; n++) {
    const [client, instance] = await connected(edge, server);
    client.socket.send('x'.repeat(1_000));
    if (n % 4 === 0) client.socket.terminate();
    else if (n % 4 === 1) instance.socket.terminate();
    else if (n % 4 === 2) client.socket.close(1000);
    else goAway(edge, routes);
    await until('both are closed', () => client.closed !== undefined && instance.closed !== undefined);
    await nothingLeft(edge, routes);
  }
  expect(server.clients.size).toBe(0);
  expect(warnings).toEqual([]);
});
