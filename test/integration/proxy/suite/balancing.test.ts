import type { ServerResponse } from 'node:http';
import { describe, expect, test } from 'vitest';
import { BALANCES } from '../../../../src/domain/traffic.ts';
import { revisionListener } from '../../../support/http/backend.ts';
import { startBareLoad } from '../../../support/http/bare-load.ts';
import { ENGINES, sharedStage } from '../engines.ts';
import { backend, route, until } from '../scene.ts';

const REQUESTS = 10_000;

/** Requests that a revision may get more or less than its share of 10,000. */
const TOLERANCE = { embedded: 2, haproxy: 10 };

describe.each(ENGINES)('$engine', { timeout: 60_000 }, ({ engine, open }) => {
  const at = sharedStage(open);
  const atTwo = sharedStage((state) => open(state, 2));

  test.each([
    { weight: 1, balance: 'least-in-flight', workers: 1 },
    { weight: 5, balance: 'round-robin', workers: 1 },
    { weight: 50, balance: 'power-of-two', workers: 1 },
    { weight: 99, balance: 'least-in-flight', workers: 1 },
    { weight: 5, balance: 'power-of-two', workers: 2 },
  ] as const)(
    'of 10,000 requests a revision gets the $weight per cent of its weight, by $balance, with $workers worker(s)',
    async ({ weight, balance, workers }) => {
      const { apply, url } = workers === 1 ? at() : atTwo();
      const [stable, canary] = [await backend('1'), await backend('2')];
      await apply({
        traffic: { balance },
        routes: [
          route('stable', stable, { weight: 100 - weight }),
          route('canary', canary, { weight, revision: 2 }),
        ],
      });
      const ledger = await startBareLoad({ url: url(), connections: 16, requests: REQUESTS }).ended;
      expect(ledger.failures).toEqual([]);
      expect(ledger.ok).toBe(REQUESTS);
      expect(stable.requests + canary.requests).toBe(REQUESTS);
      const off = Math.abs((ledger.revisions['2'] ?? 0) - (REQUESTS * weight) / 100);
      expect(off).toBeLessThanOrEqual(TOLERANCE[engine]);
    },
  );

  test('the share of a revision is its weight, however slow its instances are', async () => {
    const { apply, url } = at();
    const answer = revisionListener('2');
    const slow = await backend((req, res) => void setTimeout(() => answer(req, res), 20));
    await apply({
      routes: [
        route('quick', await backend('1'), { weight: 80 }),
        route('slow', slow, { weight: 20, revision: 2 }),
      ],
    });
    const { revisions, failures } = await startBareLoad({ url: url(), connections: 16, requests: 1_000 })
      .ended;
    expect(failures).toEqual([]);
    expect(Math.abs((revisions['2'] ?? 0) - 200)).toBeLessThanOrEqual(TOLERANCE[engine]);
  });

  test.each(BALANCES)('by %s, instances alike all get their part', async (balance) => {
    const { apply, url } = at();
    const all = await Promise.all(['a', 'b', 'c', 'd'].map((name) => backend(name)));
    await apply({ traffic: { balance }, routes: all.map((each, i) => route(`i-${i}`, each)) });
    const { failures } = await startBareLoad({ url: url(), connections: 1, requests: 400 }).ended;
    expect(failures).toEqual([]);
    const most = balance === 'power-of-two' ? 50 : 0;
    for (const { requests } of all) expect(Math.abs(requests - 100)).toBeLessThanOrEqual(most);
  });

  test('by round robin, they take turns also where one is busy', async () => {
    const { apply, url } = at();
    const waiting: ServerResponse[] = [];
    const busy = await backend((req, res) => {
      if (req.url === '/slow') waiting.push(res);
      else res.end();
    });
    const idle = await backend((_req, res) => res.end());
    await apply({ traffic: { balance: 'round-robin' }, routes: [route('busy', busy), route('idle', idle)] });
    const slow = [fetch(`${url()}slow`), fetch(`${url()}slow`)];
    await until('one is busy', () => busy.requests === 1 && idle.requests === 1);
    await startBareLoad({ url: url(), connections: 1, requests: 100 }).ended;
    expect([busy.requests, idle.requests]).toEqual([51, 51]);
    for (const res of waiting) res.end();
    await Promise.all(slow);
  });

  // the two that HAProxy draws may be one and the same: then it is asked however busy it is
  test.each(
    engine === 'embedded' ? (['least-in-flight', 'power-of-two'] as const) : (['least-in-flight'] as const),
  )('by %s, a stuck instance gathers no requests', async (balance) => {
    const { apply, url } = at();
    const waiting: ServerResponse[] = [];
    const stuck = await backend((_req, res) => void waiting.push(res));
    await apply({
      traffic: { balance },
      routes: [route('good', await backend('1')), route('stuck', stuck)],
    });
    const load = startBareLoad({ url: url(), connections: 8 });
    await until('most requests answered', () => load.ledger.ok >= 500, 20_000);
    expect(stuck.requests).toBeLessThan(8);
    for (const res of waiting) res.end();
    expect((await load.stop()).failures).toEqual([]);
  });
});
