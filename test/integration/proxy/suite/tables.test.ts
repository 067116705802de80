import { once } from 'node:events';
import type { ServerResponse } from 'node:http';
import { type AddressInfo, createServer } from 'node:net';
import { describe, expect, onTestFinished, test } from 'vitest';
import { DEFAULT_TRAFFIC } from '../../../../src/domain/traffic.ts';
import { startLoad } from '../../../support/http/load.ts';
import { type Change, ENGINES, eventually, sharedStage } from '../engines.ts';
import { backend, openWire, route, until } from '../scene.ts';

describe.each(ENGINES)('$engine', { timeout: 60_000 }, ({ open }) => {
  const at = sharedStage(open);

  test('a table that is not newer is refused, and the one in force stays', async () => {
    const { apply, status, url } = at();
    await apply({ routes: [route('a', await backend('1'))], version: 7 });
    for (const version of [6, 7])
      await expect(apply({ routes: [], version })).rejects.toMatchObject({ code: 'UD_TABLE_REFUSED' });
    expect((await fetch(url())).status).toBe(200);
    expect((await status()).version).toBe(7);
  });

  test.each([
    ['a weight over 256', { routes: [{ ...route('a', { port: 1 }), weight: 257 }] }],
    ['a fractional weight', { routes: [{ ...route('a', { port: 1 }), weight: 0.5 }] }],
    ['port 0 of a route', { routes: [route('a', { port: 0 })] }],
    ['one instance twice', { routes: [route('a', { port: 1 }), route('a', { port: 2 })] }],
    ['a negative weight', { routes: [route('a', { port: 1 }, { weight: -1 })] }],
    ['a field nobody knows', { routes: [], colour: 'red' }],
    ['a policy nobody knows', { routes: [], traffic: { colour: 'red' } }],
    ['a version that is none', { routes: [], version: 1e300 }],
  ])('a table with %s is refused whole', async (_what, change) => {
    const { apply, url } = at();
    const { version } = await apply({ routes: [route('a', await backend('1'))] });
    await expect(apply({ version: version + 99, ...(change as Change) })).rejects.toMatchObject({
      code: 'UD_TABLE_REFUSED',
    });
    expect((await fetch(url())).status).toBe(200);
  });

  test('a port that is taken is refused, and the old table stays in force', async () => {
    const { plane, apply, status, url } = at();
    const app = await backend('1');
    const listen = { host: '127.0.0.1', port: await takenPort() };
    await expect(apply({ routes: [route('a', app)], listen })).rejects.toMatchObject({
      code: 'UD_PORT_IN_USE',
    });
    expect(await plane.status()).toEqual([]);
    const before = await apply({ routes: [route('a', app)] });
    await expect(apply({ routes: [], listen })).rejects.toMatchObject({ code: 'UD_PORT_IN_USE' });
    expect(await status()).toMatchObject({ version: before.version, listen: before.listen });
    expect((await fetch(url())).status).toBe(200);
  });

  test('another port is opened before the old one closes, and what is in flight there ends', async () => {
    const { plane, apply, url } = at();
    const waiting: ServerResponse[] = [];
    const app = await backend((req, res) => {
      if (req.url === '/slow') waiting.push(res);
      else res.end('quick');
    });
    const first = await apply({ routes: [route('a', app)] });
    expect((await apply({ routes: [route('a', app)] })).listen).toEqual(first.listen);
    const old = url();
    const slow = fetch(`${old}slow`).then((res) => res.text());
    await until('the request is there', () => waiting.length === 1);
    const load = startLoad({ url: old, connections: 8, rate: 200 });
    await until('load on the old port', () => load.ledger.ok > 50);
    await load.stop();
    const port = await freedPort();
    await apply({ routes: [route('a', app)], listen: { host: '127.0.0.1', port } });
    expect(await (await fetch(`http://127.0.0.1:${port}/`)).text()).toBe('quick');
    await expect(fetch(old, { headers: { connection: 'close' } })).rejects.toThrow();
    const drain = plane.drained('shop', 'a', 10_000);
    waiting[0]?.end('whole');
    expect(await slow).toBe('whole');
    expect(await drain).toMatchObject({ cut: 0 });
  });

  test('a removed service frees its port at once, and answers what is in flight', async () => {
    const { plane, apply, port } = at();
    const waiting: ServerResponse[] = [];
    const slow = await backend((_req, res) => {
      waiting.push(res);
    });
    await apply({ routes: [route('slow', slow)] });
    const listen = { host: '127.0.0.1', port: port() };
    const wire = await openWire(listen.port);
    wire.socket.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n');
    await until('the request is there', () => waiting.length === 1);
    const removed = plane.remove('shop', 10_000);
    await eventually('the service is gone', async () => (await plane.status()).length === 0);
    await eventually('another one takes the port over', () =>
      apply({ routes: [route('slow', slow)], listen }).then(
        () => true,
        () => false,
      ),
    );
    waiting[0]?.end('whole');
    await until('the answer is whole', () => wire.closed());
    expect(wire.received()).toMatch(/^HTTP\/1\.1 200 OK\r\n[\s\S]*whole/);
    await removed;
    await plane.remove('shop', 0);
    await plane.remove('shop', 0);
    expect(await plane.status()).toEqual([]);
  });

  test('services are independent of each other', async () => {
    const { plane, apply, status, url } = at();
    const [shop, blog] = [await backend('shop'), await backend('blog')];
    await apply({ routes: [route('a', shop)] });
    const other = await apply({ service: 'blog', routes: [route('a', blog)] });
    const { listen } = await status();
    await expect(apply({ service: 'blog', routes: [], listen })).rejects.toMatchObject({
      code: 'UD_PORT_IN_USE',
    });
    await apply({ service: 'blog', routes: [], hold: true });
    expect(await (await fetch(url())).text()).toBe('revision shop\n');
    await plane.remove('shop', 0);
    await apply({ service: 'blog', routes: [route('a', blog)] });
    expect(await (await fetch(`http://127.0.0.1:${other.listen.port}/`)).text()).toBe('revision blog\n');
  });

  test('the next client adopts what it finds, under load', async () => {
    const { apply, url, another } = at();
    const app = await backend('1');
    const { listen, version } = await apply({ routes: [route('a', app)] });
    const load = startLoad({ url: url(), connections: 8 });
    const next = another();
    await next.ensure();
    expect(await next.status()).toMatchObject([{ service: 'shop', version, listen, hold: false }]);
    const table = {
      service: 'shop',
      version,
      listen,
      hold: false,
      preview: null,
      traffic: DEFAULT_TRAFFIC,
      routes: [],
    };
    await expect(next.apply(table)).rejects.toMatchObject({ code: 'UD_TABLE_REFUSED' });
    const renewed = [route('b', await backend('2'))];
    await next.apply({ ...table, version: version + 1, routes: renewed });
    expect(await next.drained('shop', 'a', 5_000)).toMatchObject({ cut: 0 });
    await app.kill();
    const { ok } = load.ledger;
    await until('load on the new instance', () => load.ledger.ok >= ok + 500, 20_000);
    const ledger = await load.stop();
    expect(ledger.failures).toEqual([]);
    expect(ledger.revisions['2']).toBeGreaterThan(0);
  });
});

async function takenPort(): Promise<number> {
  const taken = createServer().listen(0, '127.0.0.1');
  await once(taken, 'listening');
  onTestFinished(() => void taken.close());
  return (taken.address() as AddressInfo).port;
}

async function freedPort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}
