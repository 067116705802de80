import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { describe, expect, onTestFinished, test } from 'vitest';
import { WebSocket, WebSocketServer } from 'ws';
import { DEFAULT_TRAFFIC } from '../../../../src/domain/traffic.ts';
import type { Route } from '../../../../src/proxy/port.ts';
import { ENGINES, eventually, sharedStage } from '../engines.ts';
import { backend, route, until } from '../scene.ts';
import { certificate } from './certificate.ts';
import { answering, bareInstance, deadPort, dial, headOf } from './wire.ts';

const ASK = [
  'GET /chat HTTP/1.1',
  'Host: a',
  'Connection: Upgrade',
  'Upgrade: websocket',
  'Sec-WebSocket-Version: 13',
  'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==',
  '\r\n',
].join('\r\n');
const YES = [
  'HTTP/1.1 101 Switching Protocols',
  'Connection: Upgrade',
  'Upgrade: websocket',
  'Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=',
  '\r\n',
].join('\r\n');

describe.each(ENGINES)('$engine', { timeout: 60_000 }, ({ open }) => {
  const at = sharedStage(open);
  const inFlight = async () => (await at().status()).routes.reduce((sum, each) => sum + each.inFlight, 0);
  const nothingInFlight = () => eventually('nothing is in flight', async () => (await inFlight()) === 0);

  /** An application that sends every message back. */
  async function application(): Promise<{ server: WebSocketServer; routes: Route[]; asked: string[] }> {
    const http = createServer((_req, res) => res.end('plain'));
    const server = new WebSocketServer({ server: http, maxPayload: 1 << 30 });
    const asked: string[] = [];
    server.on('connection', (socket, req) => {
      asked.push(`${req.url} ${req.headers['x-forwarded-for']}`);
      socket.on('message', (message, binary) => socket.send(message, { binary }));
      socket.on('error', () => undefined);
    });
    http.listen(0, '127.0.0.1');
    await once(http, 'listening');
    onTestFinished(() => {
      for (const socket of server.clients) socket.terminate();
      http.close();
      http.closeAllConnections();
    });
    return { server, asked, routes: [route('a', http.address() as AddressInfo)] };
  }

  async function connected(scheme = 'ws'): Promise<WebSocket> {
    const socket = new WebSocket(`${scheme}://127.0.0.1:${at().port()}/chat`, {
      rejectUnauthorized: false,
      maxPayload: 1 << 30,
    });
    onTestFinished(() => socket.terminate());
    await once(socket, 'open');
    return socket;
  }

  test.each(['ws', 'wss'])('messages go both ways, small and large (%s)', async (scheme) => {
    const { routes, asked } = await application();
    const tls = scheme === 'wss' ? await certificate('localhost') : null;
    await at().apply({ traffic: { tls }, routes });
    const socket = await connected(scheme);
    for (const message of [Buffer.from('hello'), randomBytes(16 << 20), Buffer.alloc(0)]) {
      socket.send(message);
      expect((await once(socket, 'message'))[0].equals(message)).toBe(true);
    }
    expect(asked).toEqual(['/chat 127.0.0.1']);
    expect(await inFlight()).toBe(1);
    socket.close(4000, 'enough');
    expect((await once(socket, 'close'))[0]).toBe(4000);
    await nothingInFlight();
    expect((await at().status()).failures).toBe(0);
  });

  test('what comes with the request is the first message', async () => {
    const app = await bareInstance(({ socket }) => {
      socket.once('data', () => socket.write(YES));
    });
    await at().apply({ routes: [route('a', app)] });
    const wire = await dial(at().port());
    wire.socket.write(`${ASK}early`);
    await until('the upgrade is answered', () => wire.received().includes('\r\n\r\n'));
    wire.socket.write(' and late');
    await until('all of it', () =>
      app.connections.some((each) => each.received().endsWith('early and late')),
    );
  });

  test.each(['client', 'instance'])('where the %s is cut off, the other side is too', async (side) => {
    const { server, routes } = await application();
    await at().apply({ routes });
    const socket = await connected();
    socket.on('error', () => undefined);
    const there = [...server.clients][0] as WebSocket;
    const closed = once(side === 'client' ? there : socket, 'close');
    (side === 'client' ? socket : there).terminate();
    await closed;
    await nothingInFlight();
  });

  test('clients that reset before the upgrade is answered leave nothing behind', async () => {
    const app = await bareInstance();
    await at().apply({ routes: [route('a', app)] });
    const asked = () => app.connections.filter((each) => each.received().includes('/chat'));
    for (let n = 1; n <= 30; n++) {
      const wire = await dial(at().port());
      wire.socket.write(ASK);
      await until('the instance was asked', () => asked().length === n);
      wire.socket.resetAndDestroy();
    }
    await until('every connection is let go', () => asked().every((each) => each.ended() || each.closed()));
    await nothingInFlight();
    await at().apply({ routes: [route('b', await backend('1'))] });
    expect((await fetch(at().url())).status).toBe(200);
  });

  test('an upgrade that is not answered in time is answered for with 504', async () => {
    const timeouts = { ...DEFAULT_TRAFFIC.timeouts, response: 300 };
    await at().apply({ traffic: { timeouts }, routes: [route('a', await bareInstance())] });
    const answer = await headOf(at().port(), ASK);
    expect(answer).toMatch(/^HTTP\/1\.1 504 /);
    expect(answer).toMatch(/x-unideploy-proxy: response-timeout/i);
    await nothingInFlight();
  });

  test('an open WebSocket may be silent for longer than an answer may take', async () => {
    const { routes } = await application();
    const timeouts = { ...DEFAULT_TRAFFIC.timeouts, response: 200, body: 200, idle: 200 };
    await at().apply({ traffic: { timeouts }, routes });
    const socket = await connected();
    // another connection's time-out shows that theirs has passed
    const silent = await dial(at().port());
    await until('time has passed', () => silent.ended());
    socket.send('still here');
    expect(String((await once(socket, 'message'))[0])).toBe('still here');
  });

  test('an instance that dies before it answers the upgrade is answered for with 502', async () => {
    const app = await bareInstance(({ socket }) => socket.once('data', () => socket.destroy()));
    await at().apply({ routes: [route('a', app)] });
    expect(await headOf(at().port(), ASK)).toMatch(/^HTTP\/1\.1 502 /);
    await nothingInFlight();
  });

  test('an upgrade tries another instance where the first one refuses the connection', async () => {
    const { routes } = await application();
    await at().apply({ routes: [route('dead', await deadPort()), ...routes] });
    for (let n = 0; n < 4; n++) (await connected()).terminate();
    expect((await at().status()).failures).toBe(0);
  });

  test('a plain answer to an upgrade reaches the client', async () => {
    const app = await answering('HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno', (socket) =>
      socket.end(),
    );
    await at().apply({ routes: [route('a', app)] });
    const wire = await dial(at().port());
    wire.socket.write(ASK);
    await until('the answer', () => wire.received().endsWith('\r\n\r\nno'));
    expect(wire.received()).toMatch(/^HTTP\/1\.1 403 Forbidden\r\n/);
    await nothingInFlight();
  });

  test('a held upgrade goes on when there is an instance', async () => {
    const { routes } = await application();
    await at().apply({ hold: true, routes });
    const opened = connected();
    await eventually('it waits', async () => (await at().status()).held === 1);
    await at().apply({ routes });
    (await opened).send('hello');
  });

  test('a drain that ends at once cuts WebSockets', async () => {
    const { server, routes } = await application();
    const drain = { websocket: 60_000, events: 60_000 };
    await at().apply({ traffic: { drain }, routes });
    const socket = await connected();
    socket.on('error', () => undefined);
    const closed = Promise.all([once(socket, 'close'), once([...server.clients][0] as WebSocket, 'close')]);
    await at().apply({ traffic: { drain }, routes: routes.map((each) => ({ ...each, weight: 0 })) });
    expect(await at().plane.drained('shop', 'a', 50)).toMatchObject({ cut: 1 });
    await closed;
  });
});
