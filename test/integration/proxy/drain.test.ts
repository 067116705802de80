import type { ServerResponse } from 'node:http';
import { expect, test } from 'vitest';
import { backend, openWire, route, scene, until } from './scene.ts';

test('a drain waits for the request in flight, also when the instance has left the table', async () => {
  const proxy = scene();
  const waiting: ServerResponse[] = [];
  const slow = await backend((_req, res) => {
    waiting.push(res);
  });
  const other = await backend('2');
  await proxy.apply({ routes: [route('slow', slow)] });
  const answer = fetch(proxy.url).then((res) => res.text());
  await until('the request is there', () => waiting.length === 1);
  await proxy.apply({ routes: [route('other', other)] });

  let drained = false;
  const drain = proxy.plane.drained('shop', 'slow', 10_000).then((result) => {
    drained = true;
    return result;
  });
  expect(await (await fetch(proxy.url)).text()).toBe('revision 2\n');
  expect(drained).toBe(false);
  waiting[0]?.end('late but whole');
  expect(await answer).toBe('late but whole');
  expect(await drain).toMatchObject({ cut: 0 });
  await until('no connection to the instance is left', () => slow.sockets.size === 0, 900);
});

test('at the deadline what is left is cut, counted and told to the client', async () => {
  const proxy = scene();
  const begun: ServerResponse[] = [];
  const slow = await backend((req, res) => {
    if (req.url === '/begun') res.write('part');
    begun.push(res);
  });
  await proxy.apply({ routes: [route('slow', slow)] });
  const silent = fetch(proxy.url);
  const streamed = fetch(`${proxy.url}begun`).then((res) => res.text());
  const broken = expect(streamed).rejects.toThrow();
  await until('both are there', () => begun.length === 2);
  await proxy.apply({ routes: [route('slow', slow, { weight: 0 })] });
  expect(await proxy.plane.drained('shop', 'slow', 50)).toMatchObject({ cut: 2 });
  const answer = await silent;
  expect(answer.status).toBe(503);
  expect(answer.headers.get('x-unideploy-proxy')).toBe('drain-deadline');
  await broken;
  expect(proxy.inFlight()).toBe(0);
});

test('an instance that nobody knows is drained at once, and so is one of an unknown service', async () => {
  const proxy = scene();
  await proxy.apply({ routes: [] });
  expect(await proxy.plane.drained('shop', 'nobody', 60_000)).toMatchObject({ cut: 0 });
  expect(await proxy.plane.drained('nowhere', 'nobody', 60_000)).toMatchObject({ cut: 0 });
});

test('a drain closes the idle connections of the instance', async () => {
  const proxy = scene();
  const app = await backend('1');
  await proxy.apply({ routes: [route('a', app)] });
  await (await fetch(proxy.url)).text();
  expect(app.sockets.size).toBe(1);
  await proxy.apply({ routes: [route('a', app, { weight: 0 })] });
  await proxy.plane.drained('shop', 'a', 1_000);
  await until('the connection is closed', () => app.sockets.size === 0, 900);
});

test('a removed service answers what is in flight, with Connection: close, and frees its port', async () => {
  const proxy = scene();
  const waiting: ServerResponse[] = [];
  const slow = await backend((_req, res) => {
    waiting.push(res);
  });
  await proxy.apply({ routes: [route('slow', slow)] });
  const { port } = proxy;
  const wire = await openWire(port);
  wire.socket.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n');
  await until('the request is there', () => waiting.length === 1);
  const removed = proxy.plane.remove('shop', 10_000);
  await until('the service is gone', () => proxy.plane.status().length === 0);
  // a new one takes the port over while the old request is still running
  await proxy.apply({ routes: [route('slow', slow)], listen: { host: '127.0.0.1', port } });
  waiting[0]?.end('whole');
  await until('the answer is whole', () => wire.closed());
  expect(wire.received()).toMatch(/^HTTP\/1\.1 200 OK\r\n/);
  expect(wire.received()).toMatch(/\r\nConnection: close\r\n/);
  expect(wire.received()).toContain('whole');
  await removed;
  await proxy.plane.remove('shop', 0);
  await proxy.plane.remove('shop', 0);
});
