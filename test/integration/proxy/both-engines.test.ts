import { once } from 'node:events';
import type { ServerResponse } from 'node:http';
import { type AddressInfo, createServer } from 'node:net';
import { describe, expect, onTestFinished, test } from 'vitest';
import { DEFAULT_TRAFFIC } from '../../../src/domain/traffic.ts';
import { bodyOf } from '../../support/http/backend.ts';
import { failedOf, startLoad } from '../../support/http/load.ts';
import { ENGINES, eventually, stage } from './engines.ts';
import { backend, openWire, route, until } from './scene.ts';

describe.each(ENGINES)('$engine', { timeout: 60_000 }, ({ open }) => {
  test('a rotation of four instances under load fails no request', async () => {
    const { plane, apply, status, url } = await stage(open);
    const old = await Promise.all(['1', '1', '1', '1'].map((revision) => backend(revision)));
    const routes = old.map((each, i) => route(`old-${i}`, each));
    await apply({ routes });
    const load = startLoad({ url: url(), connections: 32 });
    for (const [i, before] of old.entries()) {
      const { ok } = load.ledger;
      await until('load between the steps', () => load.ledger.ok >= ok + 1_250, 20_000);
      routes.push(route(`new-${i}`, await backend('2'), { revision: 2 }));
      await apply({ routes });
      routes[i] = route(`old-${i}`, before, { weight: 0 });
      await apply({ routes });
      expect(await plane.drained('shop', `old-${i}`, 5_000)).toMatchObject({ cut: 0 });
      await before.kill();
    }
    await apply({ routes: routes.filter(({ weight }) => weight > 0) });
    const { ok } = load.ledger;
    await until('load on the new revision', () => load.ledger.ok >= ok + 500, 20_000);
    const ledger = await load.stop();
    expect(ledger.failures).toEqual([]);
    expect(failedOf(ledger)).toBe(0);
    expect(ledger.sent).toBeGreaterThanOrEqual(5_000);
    expect(ledger.revisions['1']).toBeGreaterThan(0);
    expect(ledger.revisions['2']).toBeGreaterThan(0);
    expect(await status()).toMatchObject({ failures: 0, requests: ledger.sent });
  });

  test('half of the instances killed under GET load fails no request', async () => {
    const { apply, url } = await stage(open);
    const all = await Promise.all(['1', '1', '1', '1'].map((revision) => backend(revision)));
    await apply({ routes: all.map((each, i) => route(`i-${i}`, each)) });
    const load = startLoad({ url: url(), connections: 32 });
    for (const each of all.slice(0, 2)) {
      const { ok } = load.ledger;
      await until('load before the kill', () => load.ledger.ok >= ok + 1_000, 20_000);
      await each.kill();
    }
    const { ok } = load.ledger;
    await until('load after the kill', () => load.ledger.ok >= ok + 2_000, 20_000);
    const ledger = await load.stop();
    expect(ledger.failures).toEqual([]);
    expect(ledger.ok).toBe(ledger.sent);
  });

  test('a POST is never delivered twice, whatever dies', async () => {
    const { apply, url } = await stage(open);
    const seen = new Map<string, number>();
    const all = await Promise.all(
      [0, 1, 2, 3].map(() =>
        backend((req, res) => {
          const id = String(req.headers['x-id']);
          seen.set(id, (seen.get(id) ?? 0) + 1);
          req.resume().once('end', () => setImmediate(() => res.end('done')));
        }),
      ),
    );
    await apply({ routes: all.map((each, i) => route(`i-${i}`, each)) });
    let next = 0;
    let answered = 0;
    const statuses = new Map<unknown, number>();
    const post = async () => {
      while (next < 3_000) {
        const id = String(next++);
        // HAProxy breaks a kept-alive connection where the embedded data plane answers 502
        const status = await fetch(url(), { method: 'POST', body: 'x', headers: { 'x-id': id } }).then(
          (response) => response.text().then(() => response.status),
          () => 'broken' as const,
        );
        statuses.set(status, (statuses.get(status) ?? 0) + 1);
        answered++;
      }
    };
    const loops = Promise.all(Array.from({ length: 16 }, post));
    await until('posts before the first kill', () => answered > 700, 20_000);
    await all[0]?.kill();
    await until('posts before the second kill', () => answered > 1_400, 20_000);
    await all[1]?.kill();
    await loops;
    expect([...seen.values()].filter((times) => times > 1)).toEqual([]);
    expect([...statuses.keys()].filter((status) => !LOST.has(status) && status !== 200)).toEqual([]);
    // at most those that were in flight on the two, and each of them was reported
    expect(3_000 - (statuses.get(200) ?? 0)).toBeLessThanOrEqual(32);
  });

  test('an instance that closes idle connections at any moment loses no request', async () => {
    const { apply, url } = await stage(open);
    const hasty = await backend('1');
    hasty.server.keepAliveTimeout = 1;
    await apply({ routes: [route('hasty', hasty)] });
    const reads = startLoad({ url: url(), connections: 4, rate: 400 });
    const writes = startLoad({ url: url(), connections: 4, rate: 400, method: 'POST', body: 'x' });
    await until('reads and writes', () => reads.ledger.ok >= 500 && writes.ledger.ok >= 500, 20_000);
    const ledgers = [await reads.stop(), await writes.stop()];
    expect(ledgers.flatMap(({ failures }) => failures)).toEqual([]);
  });

  test('a canary gets the share that its weight says', async () => {
    const { apply, url } = await stage(open);
    const [stable, canary] = [await backend('1'), await backend('2')];
    await apply({
      routes: [route('stable', stable, { weight: 95 }), route('canary', canary, { weight: 5, revision: 2 })],
    });
    const load = startLoad({ url: url(), connections: 8 });
    await until('enough requests', () => load.ledger.ok >= 2_000, 20_000);
    const ledger = await load.stop();
    expect(Math.abs(((ledger.revisions['2'] ?? 0) / ledger.ok) * 100 - 5)).toBeLessThan(0.2);
  });

  test('a drain waits for the request in flight, also when the instance has left the table', async () => {
    const { plane, apply, url } = await stage(open);
    const waiting: ServerResponse[] = [];
    const slow = await backend((_req, res) => {
      waiting.push(res);
    });
    await apply({ routes: [route('slow', slow)] });
    const answer = fetch(url()).then((res) => res.text());
    await until('the request is there', () => waiting.length === 1);
    await apply({ routes: [route('other', await backend('2'))] });
    let drained = false;
    const drain = plane.drained('shop', 'slow', 10_000).then((result) => {
      drained = true;
      return result;
    });
    expect(await (await fetch(url())).text()).toBe('revision 2\n');
    expect(drained).toBe(false);
    waiting[0]?.end('late but whole');
    expect(await answer).toBe('late but whole');
    expect(await drain).toMatchObject({ cut: 0 });
    await until('no connection to the instance is left', () => slow.sockets.size === 0);
  });

  test('at the deadline what is left is cut, counted and told to the client', async () => {
    const { plane, apply, status, url } = await stage(open);
    const begun: ServerResponse[] = [];
    const slow = await backend((req, res) => {
      if (req.url === '/begun') res.write('part');
      begun.push(res);
    });
    await apply({ routes: [route('slow', slow)] });
    const silent = fetch(url());
    const broken = expect(fetch(`${url()}begun`).then((res) => res.text())).rejects.toThrow();
    await until('both are there', () => begun.length === 2);
    await apply({ routes: [route('slow', slow, { weight: 0 })] });
    expect(await plane.drained('shop', 'slow', 50)).toMatchObject({ cut: 2 });
    expect((await silent).status).toBe(503);
    await broken;
    expect((await status()).routes).toMatchObject([{ instance: 'slow', inFlight: 0 }]);
  });

  test('an instance that nobody knows is drained at once, and so is one of an unknown service', async () => {
    const { plane, apply } = await stage(open);
    await apply({ routes: [] });
    expect(await plane.drained('shop', 'nobody', 60_000)).toMatchObject({ cut: 0 });
    expect(await plane.drained('nowhere', 'nobody', 60_000)).toMatchObject({ cut: 0 });
  });

  test('a drain closes the idle connections of the instance', async () => {
    const { plane, apply, url } = await stage(open);
    const app = await backend('1');
    await apply({ routes: [route('a', app)] });
    await (await fetch(url())).text();
    expect(app.sockets.size).toBeGreaterThan(0);
    await apply({ routes: [route('a', app, { weight: 0 })] });
    expect(await plane.drained('shop', 'a', 1_000)).toMatchObject({ cut: 0 });
    await until('the connection is closed', () => app.sockets.size === 0, 900);
  });

  test('held requests go on when the hold ends, bodies included', async () => {
    const { apply, status, url } = await stage(open);
    const app = await backend(async (req, res) => res.end(await bodyOf(req)));
    await apply({ hold: true, routes: [route('a', app)] });
    const answers = Array.from({ length: 50 }, (_, n) =>
      fetch(url(), { method: 'POST', body: `body ${n}` }).then((res) => res.text()),
    );
    await eventually('all wait', async () => (await status()).held === 50);
    expect(app.requests).toBe(0);
    await apply({ routes: [route('a', app)] });
    expect(await Promise.all(answers)).toEqual(answers.map((_, n) => `body ${n}`));
    expect(await status()).toMatchObject({ held: 0, failures: 0 });
  });

  test('short holds under load fail no request', async () => {
    const { plane, apply, status, url } = await stage(open);
    const app = await backend('1');
    await apply({ routes: [route('a', app)] });
    const load = startLoad({ url: url(), connections: 64 });
    for (let round = 0; round < 3; round++) {
      const { ok } = load.ledger;
      await until('load before the hold', () => load.ledger.ok >= ok + 300, 20_000);
      await apply({ hold: true, routes: [route('a', app)] });
      expect(await plane.drained('shop', 'a', 5_000)).toMatchObject({ cut: 0 });
      await eventually('all connections wait', async () => (await status()).held === 64);
      await apply({ routes: [route('a', app)] });
    }
    expect((await load.stop()).failures).toEqual([]);
  });

  test('the hold is bounded: one request too many gets 503 with Retry-After', async () => {
    const { apply, status, url } = await stage(open);
    const app = await backend('1');
    await apply({ hold: true, routes: [route('a', app)] });
    const load = startLoad({ url: url(), connections: 1_000 });
    await eventually('the hold is full', async () => (await status()).held === 1_000, 20_000);
    const refused = await fetch(url());
    expect(refused.status).toBe(503);
    expect(refused.headers.get('retry-after')).toBe('1');
    expect(refused.headers.get('x-unideploy-proxy')).toBe('hold-full');
    await apply({ routes: [route('a', app)] });
    expect((await load.stop()).failures).toEqual([]);
  });

  test('a table whose routes all have weight 0 holds; an empty table refuses at once', async () => {
    const { apply, status, url } = await stage(open);
    const app = await backend('1');
    await apply({ routes: [route('a', app, { weight: 0 })] });
    const held = fetch(url());
    await eventually('the request waits', async () => (await status()).held === 1);
    await apply({ routes: [route('a', app)] });
    expect((await held).status).toBe(200);
    await apply({ routes: [] });
    const refused = await fetch(url());
    expect(refused.status).toBe(503);
    expect(refused.headers.get('retry-after')).toBe('1');
    expect(refused.headers.get('x-unideploy-proxy')).toBe('no-instance');
  });

  test('a table that is not newer is refused, and the one in force stays', async () => {
    const { apply, status, url } = await stage(open);
    await apply({ routes: [route('a', await backend('1'))], version: 7 });
    for (const version of [6, 7])
      await expect(apply({ routes: [], version })).rejects.toMatchObject({ code: 'UD_TABLE_REFUSED' });
    expect((await fetch(url())).status).toBe(200);
    expect((await status()).version).toBe(7);
  });

  test.each([
    ['a weight over 256', { routes: [{ ...route('a', { port: 1 }), weight: 257 }] }],
    ['port 0 of a route', { routes: [route('a', { port: 0 })] }],
    ['one instance twice', { routes: [route('a', { port: 1 }), route('a', { port: 2 })] }],
  ])('a table with %s is refused whole', async (_what, change) => {
    const { apply, url } = await stage(open);
    await apply({ routes: [route('a', await backend('1'))] });
    await expect(apply({ version: 99, ...change })).rejects.toMatchObject({ code: 'UD_TABLE_REFUSED' });
    expect((await fetch(url())).status).toBe(200);
  });

  test('a port that is taken is refused, and the old table stays in force', async () => {
    const { plane, apply, status, url } = await stage(open);
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
    const { plane, apply, url } = await stage(open);
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

  test('a removed service answers what is in flight, with Connection: close, and frees its port', async () => {
    const { plane, apply, url } = await stage(open);
    const waiting: ServerResponse[] = [];
    const slow = await backend((_req, res) => {
      waiting.push(res);
    });
    await apply({ routes: [route('slow', slow)] });
    const port = Number(new URL(url()).port);
    const wire = await openWire(port);
    wire.socket.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n');
    await until('the request is there', () => waiting.length === 1);
    const removed = plane.remove('shop', 10_000);
    await eventually('the service is gone', async () => (await plane.status()).length === 0);
    await eventually('another one takes the port over', () =>
      apply({ routes: [route('slow', slow)], listen: { host: '127.0.0.1', port } }).then(
        () => true,
        () => false,
      ),
    );
    waiting[0]?.end('whole');
    await until('the answer is whole', () => wire.closed());
    expect(wire.received()).toMatch(/^HTTP\/1\.1 200 OK\r\n/);
    expect(wire.received()).toMatch(/\r\nconnection: close\r\n/i);
    expect(wire.received()).toContain('whole');
    await removed;
    await plane.remove('shop', 0);
    await plane.remove('shop', 0);
    expect(await plane.status()).toEqual([]);
  });

  test('services are independent of each other', async () => {
    const { plane, apply, status, url } = await stage(open);
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
    const { apply, url, another } = await stage(open);
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

/** How a client learns that its request is lost. */
const LOST = new Set<unknown>([502, 'broken']);

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
