import { readFileSync } from 'node:fs';
import { describe, expect, onTestFinished, test } from 'vitest';
import { type App, startApp } from '../../support/http/app.ts';
import { startBareLoad } from '../../support/http/bare-load.ts';
import { failedOf } from '../../support/http/ledger.ts';
import { ENGINES, stage } from './engines.ts';
import { route, until } from './scene.ts';

const KILLS = 5;

describe.each(ENGINES)('$engine', { timeout: 120_000 }, ({ open }) => {
  test('kill -9 of an instance with idle connections fails no GET, time and again', async () => {
    const { apply, url } = await stage(open);
    let apps = await Promise.all([0, 1, 2, 3].map(start));
    const put = () => apply({ routes: apps.map((app) => route(`i-${app.pid}`, app)) });
    await put();
    const load = startBareLoad({ url: url(), connections: 32, rate: 1_500 });
    onTestFinished(async () => void (await load.stop()));
    for (let kill = 0; kill < KILLS; kill++) {
      const victim = apps[0] as App;
      // many at a time leave many connections idle; the next requests are sent on those
      const crowd = await startBareLoad({ url: url(), connections: 128, requests: 2_000 }).ended;
      expect(crowd.failures).toEqual([]);
      expect(connectionsTo(victim.port)).toBeGreaterThan(0);
      await victim.kill();
      const { ok } = load.ledger;
      await until('load after the kill', () => load.ledger.ok >= ok + 1_000, 20_000);
      apps = [...apps.slice(1), await start()];
      await put();
    }
    const ledger = await load.stop();
    expect(ledger.failures).toEqual([]);
    expect(failedOf(ledger)).toBe(0);
    expect(ledger.ok).toBeGreaterThanOrEqual(KILLS * 1_000);
  });

  test('kill -9 of half of the instances at once, in the middle of GET load, fails none', async () => {
    const { apply, url } = await stage(open);
    const apps = await Promise.all([0, 1, 2, 3, 4, 5, 6, 7].map(start));
    await apply({ routes: apps.map((app) => route(`i-${app.pid}`, app)) });
    const loads = [
      startBareLoad({ url: url(), connections: 64 }),
      startBareLoad({ url: url(), connections: 8, fresh: true }),
    ];
    onTestFinished(async () => void (await Promise.all(loads.map((load) => load.stop()))));
    const progress = async (answers: number) => {
      const before = loads.map(({ ledger }) => ledger.ok);
      const more = () => loads.every(({ ledger }, i) => ledger.ok >= (before[i] ?? 0) + answers);
      await until('load', more, 30_000);
    };
    await progress(200);
    await Promise.all(apps.slice(0, 4).map((app) => app.kill()));
    await progress(500);
    const ledgers = await Promise.all(loads.map((load) => load.stop()));
    expect(ledgers.flatMap(({ failures }) => failures)).toEqual([]);
    expect(ledgers.map(failedOf)).toEqual([0, 0]);
  });
});

async function start(): Promise<App> {
  const app = await startApp('1');
  onTestFinished(() => app.kill());
  return app;
}

/** Connections that somebody keeps to a port of 127.0.0.1. */
function connectionsTo(port: number): number {
  const remote = `0100007F:${port.toString(16).toUpperCase().padStart(4, '0')}`;
  const established = '01';
  return readFileSync('/proc/net/tcp', 'utf8')
    .split('\n')
    .map((line) => line.trim().split(/\s+/))
    .filter(([, , to, state]) => to === remote && state === established).length;
}
