import type { ServerResponse } from 'node:http';
import { expect, test } from 'vitest';
import { DEFAULT_TRAFFIC } from '../../../src/domain/traffic.ts';
import { connectionsOf } from '../../support/cli/connections.ts';
import { isAlive } from '../../support/cli/processes.ts';
import { failedOf, startLoad } from '../../support/http/load.ts';
import { startChurn } from './churn.ts';
import { eventually } from './engines.ts';
import { home, table } from './home.ts';
import { backend, openWire, route, until } from './scene.ts';

test('a worker that is killed under load loses only what it had in flight, and is replaced', async () => {
  const { plane, workers, primary } = await home({ workers: 2 });
  await plane.ensure();
  const apps = await Promise.all(['1', '1'].map((revision) => backend(revision)));
  const { listen } = await plane.apply(table(1, { routes: apps.map((app, i) => route(`i-${i}`, app)) }));
  await until('both workers run', () => workers().length === 2, 20_000);
  const url = `http://127.0.0.1:${listen.port}/`;
  const kept = startLoad({ url, connections: 64 });
  const churn = startChurn(listen.port, 16);
  const more = async () => {
    const { ok } = kept.ledger;
    const { answered } = churn.tally;
    await until('load', () => kept.ledger.ok > ok + 1_000 && churn.tally.answered > answered + 300, 60_000);
  };
  await more();
  const first = workers().map(({ pid }) => pid);
  // both take connections
  for (const pid of first) await until(`${pid} has some`, () => connectionsOf(pid, listen.port) > 0, 20_000);
  let had = 0;
  for (const pid of first) {
    process.kill(pid, 'SIGSTOP');
    had += connectionsOf(pid, listen.port);
    process.kill(pid, 'SIGKILL');
    await until('it is replaced', () => workers().filter((each) => each.pid !== pid).length === 2, 20_000);
    await more();
  }
  const [ledger, tally] = [await kept.stop(), await churn.stop()];
  const causes = [...ledger.failures.map(({ cause }) => cause), ...tally.failures];
  expect(failedOf(ledger) + tally.failures.length).toBeLessThanOrEqual(had);
  expect(causes.filter((cause) => cause.includes('ECONNREFUSED'))).toEqual([]);
  expect(ledger.failed).toMatchObject({ status: 0, wrong: 0, timeout: 0 });
  expect(workers().map(({ pid }) => pid)).not.toEqual(expect.arrayContaining(first));
  expect(isAlive(await primary())).toBe(true);
});

test('the workers that replace others serve the newest table', async () => {
  const { plane, workers } = await home({ workers: 2 });
  await plane.ensure();
  const { listen } = await plane.apply(table(1, { routes: [route('a', await backend('1'))] }));
  await plane.apply(table(2, { routes: [route('b', await backend('2'))] }));
  const gone = await plane.apply(table(1, { service: 'gone', routes: [route('a', await backend('3'))] }));
  await plane.remove('gone', 1_000);
  const first = workers().map(({ pid }) => pid);
  for (const pid of first) process.kill(pid, 'SIGKILL');
  // nobody listens at this moment: connections wait until somebody does, and are not refused
  const answers = await Promise.all(
    Array.from({ length: 20 }, async () => (await fetch(`http://127.0.0.1:${listen.port}/`)).text()),
  );
  expect(new Set(answers)).toEqual(new Set(['revision 2\n']));
  expect(await plane.status()).toMatchObject([{ service: 'shop', version: 2 }]);
  await expect(openWire(gone.listen.port)).rejects.toMatchObject({ code: 'ECONNREFUSED' });
  await plane.apply(table(3, { routes: [route('c', await backend('4'))] }));
  expect(await (await fetch(`http://127.0.0.1:${listen.port}/`)).text()).toBe('revision 4\n');
});

test('a worker that hangs is killed and replaced', { timeout: 60_000 }, async () => {
  const { plane, workers } = await home({ workers: 1 });
  await plane.ensure();
  const { listen } = await plane.apply(table(1, { routes: [route('a', await backend('1'))] }));
  const [hung] = workers();
  if (!hung) throw new Error('no worker');
  process.kill(hung.pid, 'SIGSTOP');
  expect(await (await fetch(`http://127.0.0.1:${listen.port}/`)).text()).toBe('revision 1\n');
  expect(isAlive(hung.pid)).toBe(false);
});

test('what is told of the data plane is told of all its workers', async () => {
  const { plane, workers } = await home({ workers: 2 });
  await plane.ensure();
  const waiting: ServerResponse[] = [];
  const slow = await backend((_req, res) => {
    waiting.push(res);
  });
  const { listen } = await plane.apply(table(1, { routes: [route('a', slow)] }));
  await until('both workers run', () => workers().length === 2, 20_000);
  const pids = workers().map(({ pid }) => pid);
  // connections, each with a request in flight, until each worker has some
  const answers: Promise<unknown>[] = [];
  await until(
    'both have requests in flight',
    () => {
      const url = `http://127.0.0.1:${listen.port}/`;
      answers.push(
        fetch(url)
          .then((res) => res.text())
          .catch(() => 'lost'),
      );
      return pids.every((pid) => connectionsOf(pid, listen.port) > 0);
    },
    20_000,
  );
  await until('all are there', () => waiting.length === answers.length);
  const [status] = await plane.status();
  expect(status).toMatchObject({ requests: answers.length, routes: [{ inFlight: answers.length }] });

  await plane.apply(table(2, { routes: [route('a', slow, { weight: 0 })] }));
  const drain = plane.drained('shop', 'a', 60_000);
  // one worker dies, and with it what it had; the other finishes
  const [victim] = pids;
  if (victim === undefined) throw new Error('no worker');
  process.kill(victim, 'SIGKILL');
  for (const res of waiting) res.end('whole');
  expect(await drain).toMatchObject({ cut: 0 });
  const ends = await Promise.all(answers);
  expect(new Set(ends)).toEqual(new Set(['whole', 'lost']));
  // what was seen of the dead worker's figures is not forgotten
  const [after] = await plane.status();
  expect(after).toMatchObject({ requests: answers.length, drains: 1, routes: [{ inFlight: 0 }] });
});

test('workers end with a primary that was killed; the next one has the port within seconds', async () => {
  const { plane, another, workers, primary } = await home({ workers: 2 });
  await plane.ensure();
  const waiting: ServerResponse[] = [];
  const slow = await backend((_req, res) => {
    waiting.push(res);
  });
  const { listen } = await plane.apply(table(1, { routes: [route('a', slow)] }));
  const url = `http://127.0.0.1:${listen.port}/`;
  const answer = fetch(url).then((res) => res.text());
  await until('the request is in flight', () => waiting.length === 1);
  const old = workers().map(({ pid }) => pid);
  process.kill(await primary(), 'SIGKILL');
  const killed = Date.now();
  const next = another();
  await next.ensure();
  await next.apply(table(1, { listen, routes: [route('b', await backend('2'))] }));
  expect(await (await fetch(url, { headers: { connection: 'close' } })).text()).toBe('revision 2\n');
  expect(Date.now() - killed).toBeLessThan(10_000);
  waiting[0]?.end('whole');
  expect(await answer).toBe('whole');
  await until('the old workers have ended', () => !old.some(isAlive), 20_000);
});

test('an instance is checked once for all workers, and all of them know the verdict', async () => {
  const { plane, workers } = await home({ workers: 2 });
  await plane.ensure();
  const probes: number[] = [];
  const sick = await backend((req, res) => {
    if (req.url === '/health') probes.push(Date.now());
    res.writeHead(500).end();
  });
  const routes = [route('sick', sick), route('well', await backend('1'))];
  const check = { path: '/health', interval: 200, timeout: 1_000, healthy: 2, unhealthy: 2 };
  const traffic = { ...DEFAULT_TRAFFIC, check };
  const { listen } = await plane.apply(table(1, { routes, traffic }));
  const taken = async () => (await plane.status())[0]?.routes[0]?.usable === false;
  await eventually('it is taken out', taken, 20_000);
  const ask = async () => {
    const answers = Array.from({ length: 40 }, () =>
      fetch(`http://127.0.0.1:${listen.port}/`, { headers: { connection: 'close' } }),
    );
    return new Set((await Promise.all(answers)).map(({ status }) => status));
  };
  expect(await ask()).toEqual(new Set([200]));
  // workers that are new are told
  const old = workers().map(({ pid }) => pid);
  for (const pid of old) process.kill(pid, 'SIGKILL');
  await until(
    'they are replaced',
    () => workers().filter(({ pid }) => !old.includes(pid)).length === 2,
    20_000,
  );
  await eventually('it is out there, too', taken, 20_000);
  expect(await ask()).toEqual(new Set([200]));
  const gaps = probes.slice(1).map((at, i) => at - (probes[i] ?? 0));
  expect(gaps.reduce((sum, gap) => sum + gap, 0) / gaps.length).toBeGreaterThan(150);
});

test('a table that a worker cannot serve is in force nowhere', async () => {
  const { plane } = await home({ workers: 2 });
  await plane.ensure();
  const app = await backend('1');
  const { listen } = await plane.apply(table(1, { routes: [route('a', app)] }));
  const taken = { host: '127.0.0.1', port: app.port };
  await expect(plane.apply(table(2, { listen: taken }))).rejects.toMatchObject({ code: 'UD_PORT_IN_USE' });
  await expect(plane.apply(table(1, { service: 'second', listen }))).rejects.toMatchObject({
    code: 'UD_PORT_IN_USE',
  });
  expect(await plane.status()).toMatchObject([{ service: 'shop', version: 1, listen }]);
  expect(await (await fetch(`http://127.0.0.1:${listen.port}/`)).text()).toBe('revision 1\n');
  expect(await plane.apply(table(2, { routes: [route('a', app)] }))).toMatchObject({ version: 2 });
});
