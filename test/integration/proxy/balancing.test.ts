import { expect, test } from 'vitest';
import { failedOf, startLoad } from '../../support/http/load.ts';
import { backend, route, scene, until } from './scene.ts';

test('a rotation of four instances under load fails no request', { timeout: 60_000 }, async () => {
  const proxy = scene();
  const old = await Promise.all(['1', '1', '1', '1'].map((revision) => backend(revision)));
  const routes = old.map((each, i) => route(`old-${i}`, each));
  await proxy.apply({ routes });
  const load = startLoad({ url: proxy.url, connections: 32 });

  for (const [i, before] of old.entries()) {
    const sent = load.ledger.ok;
    await until('load between the steps', () => load.ledger.ok >= sent + 1_250, 20_000);
    const next = await backend('2');
    routes.push(route(`new-${i}`, next, { revision: 2 }));
    await proxy.apply({ routes });
    routes[i] = route(`old-${i}`, before, { weight: 0 });
    await proxy.apply({ routes });
    expect(await proxy.plane.drained('shop', `old-${i}`, 5_000)).toMatchObject({ cut: 0 });
    await before.kill();
  }
  const kept = routes.filter(({ weight }) => weight > 0);
  await proxy.apply({ routes: kept });
  const sent = load.ledger.ok;
  await until('load on the new revision', () => load.ledger.ok >= sent + 500, 20_000);
  const ledger = await load.stop();

  expect(ledger.failures).toEqual([]);
  expect(failedOf(ledger)).toBe(0);
  expect(ledger.ok).toBe(ledger.sent);
  expect(ledger.sent).toBeGreaterThanOrEqual(5_000);
  expect(ledger.revisions['1']).toBeGreaterThan(0);
  expect(ledger.revisions['2']).toBeGreaterThan(0);
  expect(proxy.status()).toMatchObject({ failures: 0, requests: ledger.sent });
});

test('half of the instances killed under GET load fails no request', { timeout: 60_000 }, async () => {
  const proxy = scene();
  const all = await Promise.all(['1', '1', '1', '1'].map((revision) => backend(revision)));
  await proxy.apply({ routes: all.map((each, i) => route(`i-${i}`, each)) });
  const load = startLoad({ url: proxy.url, connections: 32 });
  for (const each of all.slice(0, 2)) {
    const ok = load.ledger.ok;
    await until('load before the kill', () => load.ledger.ok >= ok + 1_000, 20_000);
    await each.kill();
  }
  const ok = load.ledger.ok;
  await until('load after the kill', () => load.ledger.ok >= ok + 2_000, 20_000);
  const ledger = await load.stop();
  expect(ledger.failures).toEqual([]);
  expect(ledger.ok).toBe(ledger.sent);
});

test('a POST is never delivered twice, whatever dies', { timeout: 60_000 }, async () => {
  const proxy = scene();
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
  await proxy.apply({ routes: all.map((each, i) => route(`i-${i}`, each)) });

  let next = 0;
  let answered = 0;
  const statuses = new Map<number, number>();
  const post = async () => {
    while (next < 3_000) {
      const id = String(next++);
      const response = await fetch(proxy.url, { method: 'POST', body: 'x', headers: { 'x-id': id } });
      await response.text();
      statuses.set(response.status, (statuses.get(response.status) ?? 0) + 1);
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
  expect([...statuses.keys()].filter((status) => status !== 200 && status !== 502)).toEqual([]);
  // at most those that were in flight on the two, and each of them was reported
  expect(statuses.get(502) ?? 0).toBeLessThanOrEqual(32);
  expect(proxy.status().failures).toBe(statuses.get(502) ?? 0);
});

test('a canary gets exactly the share that its weight says', async () => {
  const proxy = scene();
  const [stable, canary] = [await backend('1'), await backend('2')];
  await proxy.apply({
    routes: [route('stable', stable, { weight: 95 }), route('canary', canary, { weight: 5, revision: 2 })],
  });
  const load = startLoad({ url: proxy.url, connections: 8 });
  await until('enough requests', () => load.ledger.ok >= 2_000, 20_000);
  const ledger = await load.stop();
  expect(Math.abs(((ledger.revisions['2'] ?? 0) / ledger.ok) * 100 - 5)).toBeLessThan(0.1);
});

test('a stuck instance does not gather requests', async () => {
  const proxy = scene();
  const stuck = await backend(() => undefined);
  await proxy.apply({ routes: [route('good', await backend('1')), route('stuck', stuck)] });
  const load = startLoad({ url: proxy.url, connections: 8, timeout: 2_000 });
  await until('most requests answered', () => load.ledger.ok >= 500, 10_000);
  expect(stuck.requests).toBeLessThanOrEqual(8);
  await stuck.kill();
  await load.stop();
});

test('an instance that closes idle connections at any moment loses no request', {
  timeout: 60_000,
}, async () => {
  const proxy = scene();
  const hasty = await backend('1');
  hasty.server.keepAliveTimeout = 1;
  await proxy.apply({ routes: [route('hasty', hasty)] });
  const reads = startLoad({ url: proxy.url, connections: 4, rate: 400 });
  const writes = startLoad({ url: proxy.url, connections: 4, rate: 400, method: 'POST', body: 'x' });
  await until('reads and writes', () => reads.ledger.ok >= 500 && writes.ledger.ok >= 500, 20_000);
  const ledgers = [await reads.stop(), await writes.stop()];
  expect(ledgers.flatMap(({ failures }) => failures)).toEqual([]);
});
