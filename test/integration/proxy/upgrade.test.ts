import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import { expect, onTestFinished, test } from 'vitest';
import { backend, openWire, route, scene, until } from './scene.ts';

const ASK = 'GET /chat HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n';

/** A server that takes upgrades and sends back what it gets. */
async function echo(answer = true): Promise<{ port: number; sockets: Set<Socket>; requests: string[] }> {
  const sockets = new Set<Socket>();
  const requests: string[] = [];
  const server = createServer((_req, res) => res.end('plain'));
  server.on('upgrade', (req, socket, head) => {
    requests.push(`${req.url} ${req.headers['x-forwarded-for']}`);
    sockets.add(socket as Socket);
    socket.on('error', () => undefined);
    socket.once('close', () => sockets.delete(socket as Socket));
    if (!answer) {
      socket.resume().once('end', () => socket.end());
      return;
    }
    socket.write('HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n');
    socket.write(head);
    socket.pipe(socket);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  onTestFinished(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
    server.closeAllConnections();
  });
  return { port: (server.address() as AddressInfo).port, sockets, requests };
}

test('a WebSocket goes through in both directions, and counts as in flight until it ends', async () => {
  const proxy = scene();
  const app = await echo();
  await proxy.apply({ routes: [route('a', app)] });
  const wire = await openWire(proxy.port);
  wire.socket.write(`${ASK}early`);
  await until('the upgrade is answered', () => wire.received().endsWith('early'));
  expect(wire.received()).toMatch(/^HTTP\/1\.1 101 /);
  wire.socket.write(' and late');
  await until('the echo', () => wire.received().endsWith('early and late'));
  expect(proxy.inFlight()).toBe(1);
  expect(app.requests).toEqual(['/chat 127.0.0.1']);
  wire.socket.end();
  await until('nothing is left', () => proxy.inFlight() === 0 && app.sockets.size === 0);
  expect(proxy.status()).toMatchObject({ requests: 1, failures: 0 });
});

test('a drain cuts WebSockets at its deadline', async () => {
  const proxy = scene();
  const app = await echo();
  await proxy.apply({ routes: [route('a', app)] });
  const wire = await openWire(proxy.port);
  wire.socket.write(ASK);
  await until('the upgrade is answered', () => wire.received().includes('101'));
  await proxy.apply({ routes: [route('a', app, { weight: 0 })] });
  expect(await proxy.plane.drained('shop', 'a', 50)).toMatchObject({ cut: 1 });
  await until('both sides are closed', () => wire.closed() && app.sockets.size === 0);
});

test('clients that reset before the upgrade is answered leave nothing behind', async () => {
  const proxy = scene();
  const app = await echo(false);
  await proxy.apply({ routes: [route('a', app)] });
  for (let n = 1; n <= 50; n++) {
    const wire = await openWire(proxy.port);
    wire.socket.write(ASK);
    await until('the instance was asked', () => app.requests.length === n);
    wire.socket.resetAndDestroy();
  }
  await until('nothing is left', () => proxy.inFlight() === 0 && app.sockets.size === 0);
  expect((await fetch(proxy.url)).status).toBe(200);
});

test('an instance that dies before it answers the upgrade is answered for with 502', async () => {
  const proxy = scene();
  const app = await echo(false);
  await proxy.apply({ routes: [route('a', app)] });
  const wire = await openWire(proxy.port);
  wire.socket.write(ASK);
  await until('the instance was asked', () => app.sockets.size === 1);
  for (const socket of app.sockets) socket.destroy();
  await until('the answer', () => wire.closed());
  expect(wire.received()).toMatch(/^HTTP\/1\.1 502 /);
  expect(proxy.inFlight()).toBe(0);
});

test('an upgrade tries another instance where the first one refuses the connection', async () => {
  const proxy = scene();
  const dead = await backend('1');
  await dead.kill();
  const app = await echo();
  await proxy.apply({ routes: [route('dead', dead), route('good', app)] });
  for (let n = 0; n < 4; n++) {
    const wire = await openWire(proxy.port);
    wire.socket.write(ASK);
    await until('the upgrade is answered', () => wire.received().includes('101'));
    wire.socket.destroy();
  }
  expect(proxy.status().failures).toBe(0);
});

test('a plain answer to an upgrade reaches the client', async () => {
  const proxy = scene();
  const app = await backend((_req, res) => res.writeHead(403).end('no sockets here'));
  app.server.on('upgrade', (_req, socket) =>
    socket.end('HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno'),
  );
  await proxy.apply({ routes: [route('a', app)] });
  const wire = await openWire(proxy.port);
  wire.socket.write(ASK);
  await until('the connection is closed', () => wire.closed());
  expect(wire.received()).toMatch(/^HTTP\/1\.1 403 [\s\S]*\r\n\r\nno$/);
});

test('a held upgrade goes on when there is an instance', async () => {
  const proxy = scene();
  const app = await echo();
  await proxy.apply({ hold: true, routes: [route('a', app)] });
  const wire = await openWire(proxy.port);
  wire.socket.write(ASK);
  await until('the upgrade waits', () => proxy.status().held === 1);
  await proxy.apply({ routes: [route('a', app)] });
  await until('the upgrade is answered', () => wire.received().includes('101'));
});

test('an offer of another protocol is served as a plain request, and the connection goes on', async () => {
  const proxy = scene();
  const app = await backend('1');
  await proxy.apply({ routes: [route('a', app)] });
  const wire = await openWire(proxy.port);
  for (const n of [1, 2]) {
    wire.socket.write(
      'POST / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAA\r\nContent-Length: 4\r\n\r\nbody',
    );
    await until('an answer', () => wire.received().split('revision 1\n').length === n + 1);
  }
  expect(proxy.status()).toMatchObject({ requests: 2, failures: 0 });
});
