import { describe, expect, test } from 'vitest';
import type { TrafficPolicy } from '../../../../src/domain/traffic.ts';
import { startLoad } from '../../../support/http/load.ts';
import { ENGINES, eventually, stage } from '../engines.ts';
import { backend, route, until } from '../scene.ts';

describe.each(ENGINES)('$engine', { timeout: 60_000 }, ({ open }) => {
  test('a service that comes to an address or goes breaks no request of another, nor a hold', async () => {
    const { apply, plane, url, status } = await stage(open);
    const app = await backend('1');
    const shop = { routes: [route('a', app)] };
    const { listen } = await apply(shop);
    const load = startLoad({ url: url(), connections: 32 });
    const blog = {
      service: 'blog',
      listen,
      traffic: { match: [{ host: 'blog.test', path: '/' }] },
      routes: [route('b', app)],
    };
    for (let round = 0; round < 3; round++) {
      const { ok } = load.ledger;
      await apply(blog);
      await until('load with both', () => load.ledger.ok >= ok + 300, 20_000);
      await plane.remove('blog', 100);
      await until('load with one', () => load.ledger.ok >= ok + 600, 20_000);
    }
    await apply({ ...shop, hold: true });
    await eventually('all wait', async () => (await status()).held === 32);
    await apply(blog);
    await apply(shop);
    const { ok } = load.ledger;
    await until('load after the hold', () => load.ledger.ok >= ok + 300, 20_000);
    const ledger = await load.stop();
    expect(ledger.failures).toEqual([]);
    await eventually('every request is counted', async () => {
      const { requests, failures } = await status();
      return requests === ledger.sent && failures === 0;
    });
  });

  test('a policy that changes under load fails no request', async () => {
    const { apply, url } = await stage(open);
    const routes = [route('a', await backend('1')), route('b', await backend('1'))];
    await apply({ routes });
    const load = startLoad({ url: url(), connections: 64 });
    for (const traffic of [
      { balance: 'power-of-two' },
      { limits: { head: 32_768, body: 1_000 } },
      { check: { path: '/', interval: 500, timeout: 500, healthy: 1, unhealthy: 2 } },
      { sticky: { cookie: 'stay', pages: 0 } },
    ] satisfies Partial<TrafficPolicy>[]) {
      const { ok } = load.ledger;
      await until('load before the change', () => load.ledger.ok >= ok + 300, 20_000);
      await apply({ traffic, routes });
    }
    const { ok } = load.ledger;
    await until('load after the changes', () => load.ledger.ok >= ok + 300, 20_000);
    expect((await load.stop()).failures).toEqual([]);
  });

  test('an upgrade of the data plane refuses no connection and breaks no request', async () => {
    const { apply, plane, url, status } = await stage(open);
    await apply({ routes: [route('a', await backend('1'))] });
    const kept = startLoad({ url: url(), connections: 32 });
    const fresh = startLoad({ url: url(), connections: 8, headers: { connection: 'close' } });
    for (let round = 0; round < 2; round++) {
      const { ok } = kept.ledger;
      await until('load before the upgrade', () => kept.ledger.ok >= ok + 500, 20_000);
      await plane.upgrade();
    }
    const { ok } = kept.ledger;
    await until('load after the upgrades', () => kept.ledger.ok >= ok + 500, 20_000);
    const ledgers = [await kept.stop(), await fresh.stop()];
    expect(ledgers.flatMap(({ failures }) => failures)).toEqual([]);
    expect(await status()).toMatchObject({ failures: 0 });
  });
});
