import { describe, expect, onTestFinished, test } from 'vitest';
import type { Route } from '../../../src/proxy/port.ts';
import { type App, startApp } from '../../support/http/app.ts';
import { type BareLoad, startBareLoad } from '../../support/http/bare-load.ts';
import { failedOf } from '../../support/http/ledger.ts';
import { ENGINES, stage } from './engines.ts';
import { route, until } from './scene.ts';

const INSTANCES = 8;
const SWAPS = 4;
/** of them, all loads together, at least */
const REQUESTS = 100_000;

describe.each(ENGINES)('$engine', { timeout: 180_000 }, ({ open }) => {
  test('rotating eight instances one by one, and swapping the whole table, fails none of 100,000 requests', async () => {
    const { plane, apply, status, url } = await stage(open);
    let revision = 1;
    let current = await Promise.all(Array.from({ length: INSTANCES }, (_, n) => start(`r1-${n}`, revision)));
    await apply({ routes: current.map(routeTo) });

    const loads = [
      // as many as leave the machine some time for the rotation itself
      startBareLoad({ url: url(), connections: 256, rate: 4_000 }),
      startBareLoad({ url: url(), connections: 32, rate: 1_000, fresh: true }),
    ];
    onTestFinished(async () => void (await Promise.all(loads.map((load) => load.stop()))));
    const more = (requests: number) => progress(loads, requests);

    revision++;
    for (let n = 0; n < INSTANCES; n++) {
      const old = current[0] as Instance;
      const renewed = await start(`r${revision}-${n}`, revision);
      await apply({ routes: [...current, renewed].map(routeTo) });
      await more(REQUESTS / 20);
      const left = [...current.slice(1), renewed];
      await apply({ routes: [...left.map(routeTo), { ...routeTo(old), weight: 0 }] });
      expect(await plane.drained('shop', old.name, 20_000)).toMatchObject({ cut: 0 });
      await old.app.kill();
      await apply({ routes: left.map(routeTo) });
      current = left;
    }
    for (let swap = 0; swap < SWAPS; swap++) {
      revision++;
      const next = await Promise.all(
        Array.from({ length: INSTANCES }, (_, n) => start(`r${revision}-${n}`, revision)),
      );
      await more(REQUESTS / 20);
      await apply({ routes: next.map(routeTo) });
      const drains = await Promise.all(current.map(({ name }) => plane.drained('shop', name, 20_000)));
      expect(drains.map(({ cut }) => cut)).toEqual(drains.map(() => 0));
      await Promise.all(current.map(({ app }) => app.kill()));
      current = next;
    }
    await more(REQUESTS - sentBy(loads));
    await more(1_000);

    const ledgers = await Promise.all(loads.map((load) => load.stop()));
    expect(ledgers.flatMap(({ failures }) => failures)).toEqual([]);
    expect(ledgers.map(failedOf)).toEqual([0, 0]);
    expect(sentBy(loads)).toBeGreaterThanOrEqual(REQUESTS);
    expect(Object.keys(ledgers[0]?.revisions ?? {})).toHaveLength(2 + SWAPS);
    // what the data plane counted is what the clients sent
    expect(await status()).toMatchObject({ failures: 0, requests: sentBy(loads) });
  });
});

interface Instance {
  name: string;
  revision: number;
  app: App;
}

async function start(name: string, revision: number): Promise<Instance> {
  const app = await startApp(String(revision));
  onTestFinished(() => app.kill());
  return { name, revision, app };
}

function routeTo({ name, revision, app }: Instance): Route {
  return route(name, app, { revision });
}

function sentBy(loads: BareLoad[]): number {
  return loads.reduce((sum, { ledger }) => sum + ledger.sent, 0);
}

/** Waits for so many more right answers, on every load some. */
async function progress(loads: BareLoad[], requests: number): Promise<void> {
  const before = loads.map(({ ledger }) => ledger.ok);
  await until(
    `${requests} more answers`,
    () => {
      const since = loads.map(({ ledger }, i) => ledger.ok - (before[i] ?? 0));
      return since.every((count) => count > 0) && since.reduce((sum, count) => sum + count, 0) >= requests;
    },
    60_000,
  );
}
