import { once } from 'node:events';
import { createServer } from 'node:net';
import { expect, onTestFinished, test } from 'vitest';
import { DEFAULT_TRAFFIC } from '../../../src/domain/traffic.ts';
import { backend, route, scene } from './scene.ts';

test('a table that is not newer is refused, and the one in force stays', async () => {
  const proxy = scene();
  const app = await backend('1');
  await proxy.apply({ routes: [route('a', app)], version: 7 });
  for (const version of [6, 7])
    await expect(proxy.apply({ routes: [], version })).rejects.toMatchObject({ code: 'UD_TABLE_REFUSED' });
  expect((await fetch(proxy.url)).status).toBe(200);
  expect(proxy.status().version).toBe(7);
});

test.each([
  ['a weight over 256', { routes: [{ ...route('a', { port: 1 }), weight: 257 }] }],
  ['a fractional weight', { routes: [{ ...route('a', { port: 1 }), weight: 0.5 }] }],
  ['port 0 of a route', { routes: [route('a', { port: 0 })] }],
  ['one instance twice', { routes: [route('a', { port: 1 }), route('a', { port: 2 })] }],
  ['another service’s table', { service: 'other', routes: [] }],
  ['a field nobody knows', { routes: [], colour: 'red' }],
])('a table with %s is refused whole', async (_what, change) => {
  const proxy = scene();
  const app = await backend('1');
  await proxy.apply({ routes: [route('a', app)] });
  const table = {
    service: 'shop',
    version: 99,
    listen: { host: '127.0.0.1', port: 0 },
    hold: false,
    preview: null,
    traffic: DEFAULT_TRAFFIC,
  };
  await expect(proxy.plane.apply('shop', { ...table, ...change })).rejects.toMatchObject({
    code: 'UD_TABLE_REFUSED',
  });
  expect((await fetch(proxy.url)).status).toBe(200);
});

test('a port that is taken is refused, and the old table stays in force', async () => {
  const proxy = scene();
  const app = await backend('1');
  const taken = createServer();
  taken.listen(0, '127.0.0.1');
  await once(taken, 'listening');
  onTestFinished(() => void taken.close());
  const listen = { host: '127.0.0.1', port: (taken.address() as { port: number }).port };
  await expect(proxy.apply({ routes: [route('a', app)], listen })).rejects.toMatchObject({
    code: 'UD_PORT_IN_USE',
  });
  expect(proxy.plane.status()).toEqual([]);

  const before = await proxy.apply({ routes: [route('a', app)] });
  await expect(proxy.apply({ routes: [], listen })).rejects.toMatchObject({ code: 'UD_PORT_IN_USE' });
  expect(proxy.status()).toMatchObject({ version: before.version, listen: before.listen });
  expect((await fetch(proxy.url)).status).toBe(200);
});

test('the port that the system chose is kept; another port is opened before the old one closes', async () => {
  const proxy = scene();
  const app = await backend('1');
  const first = await proxy.apply({ routes: [route('a', app)] });
  const second = await proxy.apply({ routes: [route('a', app)] });
  expect(second.listen).toEqual(first.listen);
  const oldUrl = proxy.url;
  const free = createServer();
  free.listen(0, '127.0.0.1');
  await once(free, 'listening');
  const { port } = free.address() as { port: number };
  free.close();
  await once(free, 'close');
  await proxy.apply({ routes: [route('a', app)], listen: { host: '127.0.0.1', port } });
  expect((await fetch(`http://127.0.0.1:${port}/`)).status).toBe(200);
  await expect(fetch(oldUrl, { headers: { connection: 'close' } })).rejects.toThrow();
});

test('services are independent of each other', async () => {
  const proxy = scene();
  const [shop, blog] = [await backend('shop'), await backend('blog')];
  await proxy.apply({ routes: [route('a', shop)] });
  const other = await proxy.apply({ service: 'blog', routes: [route('a', blog)] });
  await expect(
    proxy.apply({ service: 'blog', routes: [], listen: proxy.status().listen }),
  ).rejects.toMatchObject({ code: 'UD_PORT_IN_USE' });
  await proxy.apply({ service: 'blog', routes: [], hold: true });
  expect(await (await fetch(proxy.url)).text()).toBe('revision shop\n');
  await proxy.plane.remove('shop', 0);
  await proxy.apply({ service: 'blog', routes: [route('a', blog)] });
  expect(await (await fetch(`http://127.0.0.1:${other.listen.port}/`)).text()).toBe('revision blog\n');
});
