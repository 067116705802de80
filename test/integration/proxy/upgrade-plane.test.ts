import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import type { ServerResponse } from 'node:http';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { WebSocket, WebSocketServer } from 'ws';
import { DEFAULT_TRAFFIC } from '../../../src/domain/traffic.ts';
import { isAlive } from '../../support/cli/processes.ts';
import { failedOf, startLoad } from '../../support/http/load.ts';
import { startChurn } from './churn.ts';
import { eventually } from './engines.ts';
import { home, table } from './home.ts';
import { installed } from './installed.ts';
import { backend, openWire, route, until } from './scene.ts';

test('an upgrade under load fails no request and refuses no connection', { timeout: 180_000 }, async () => {
  const { plane, processes, primary } = await home({ workers: 2 });
  await plane.ensure();
  const apps = await Promise.all(['1', '1', '2'].map((revision) => backend(revision)));
  const routes = apps.map((app, i) => route(`i-${i}`, app));
  const { listen } = await plane.apply(table(1, { routes }));
  await plane.apply(table(7, { service: 'other', routes: routes.slice(0, 1) }));
  const before = await plane.status();
  const first = processes().map(({ pid }) => pid);
  const url = `http://127.0.0.1:${listen.port}/`;
  const kept = startLoad({ url, connections: 64 });
  const posted = startLoad({ url, connections: 8, method: 'POST', body: 'x'.repeat(5_000) });
  const churn = startChurn(listen.port, 16);
  const more = async () => {
    const { ok } = kept.ledger;
    const { answered } = churn.tally;
    await until('load', () => kept.ledger.ok > ok + 2_000 && churn.tally.answered > answered + 500, 60_000);
  };
  await more();
  for (const _ of [1, 2]) {
    const pid = await primary();
    await plane.upgrade();
    expect(await primary(pid)).not.toBe(pid);
    expect(await plane.status()).toMatchObject(
      before.map(({ service, version, listen: address }) => ({ service, version, listen: address })),
    );
    await more();
  }
  // the workers from before the upgrades have answered what they had, and have gone
  await until('the old processes have ended', () => !first.some(isAlive), 40_000);
  await plane.apply(table(2, { routes: routes.slice(2) }));
  await more();
  expect(processes()).toHaveLength(3);
  const ledgers = [await kept.stop(), await posted.stop()];
  expect(ledgers.flatMap(({ failures }) => failures)).toEqual([]);
  expect(ledgers.map(failedOf)).toEqual([0, 0]);
  expect(await churn.stop()).toMatchObject({ failures: [] });
  // the port is nobody's when its service has gone: no process kept a socket
  await plane.remove('shop', 1_000);
  await expect(openWire(listen.port)).rejects.toMatchObject({ code: 'ECONNREFUSED' });
});

test('a long answer and a held request outlive an upgrade, and a drain waits for both', async () => {
  const { plane, primary } = await home({ workers: 2 });
  await plane.ensure();
  const waiting: ServerResponse[] = [];
  const slow = await backend((_req, res) => {
    waiting.push(res);
  });
  const quick = await backend('1');
  const routes = [route('slow', slow)];
  const { listen } = await plane.apply(table(1, { routes }));
  const url = `http://127.0.0.1:${listen.port}/`;
  const long = fetch(url).then((res) => res.text());
  await until('the request is in flight', () => waiting.length === 1);
  await plane.apply(table(2, { hold: true, routes }));
  const held = fetch(url).then((res) => res.text());
  await eventually('a request is held', async () => (await plane.status())[0]?.held === 1);
  const old = await primary();
  await plane.upgrade();
  await primary(old);
  // the table after the upgrade reaches what waits in the old workers
  await plane.apply(table(3, { routes: [route('quick', quick), route('slow', slow, { weight: 0 })] }));
  expect(await held).toBe('revision 1\n');
  let drained = false;
  const drain = plane.drained('shop', 'slow', 20_000).then((result) => {
    drained = true;
    return result;
  });
  expect(await (await fetch(url)).text()).toBe('revision 1\n');
  expect(drained).toBe(false);
  waiting[0]?.end('whole');
  expect(await long).toBe('whole');
  expect(await drain).toMatchObject({ cut: 0 });
  await until('the old one has ended', () => !isAlive(old), 20_000);
});

test('a drain that was begun before an upgrade ends with its last request', async () => {
  const { plane } = await home({ workers: 2 });
  await plane.ensure();
  const waiting: ServerResponse[] = [];
  const slow = await backend((_req, res) => {
    waiting.push(res);
  });
  const { listen } = await plane.apply(table(1, { routes: [route('slow', slow)] }));
  const long = fetch(`http://127.0.0.1:${listen.port}/`);
  await until('the request is in flight', () => waiting.length === 1);
  await plane.apply(table(2, { routes: [route('slow', slow, { weight: 0 })] }));
  const drain = plane.drained('shop', 'slow', 60_000);
  await plane.upgrade();
  waiting[0]?.end('whole');
  expect(await (await long).text()).toBe('whole');
  expect(await drain).toMatchObject({ cut: 0 });
});

test('an upgrade that does not come up changes nothing', { timeout: 60_000 }, async () => {
  const { state, plane, another, processes, primary } = await home({ workers: 2 });
  await plane.ensure();
  const { listen } = await plane.apply(table(1, { routes: [route('a', await backend('1'))] }));
  const before = processes();
  const old = await primary();
  const broken = join(state, 'broken.mjs');
  await writeFile(broken, 'console.error("the disk is on fire");\nprocess.exit(1);\n');
  const load = startLoad({ url: `http://127.0.0.1:${listen.port}/`, connections: 8 });
  await expect(another({ entry: broken }).upgrade()).rejects.toMatchObject({
    code: 'UD_PROXY_FAILED',
    message: expect.stringContaining('the disk is on fire'),
  });
  const { ok } = load.ledger;
  await until('load after it', () => load.ledger.ok > ok + 500, 20_000);
  expect((await load.stop()).failures).toEqual([]);
  expect(processes()).toEqual(before);
  expect(await primary()).toBe(old);
  await plane.apply(table(2, { routes: [route('a', await backend('2'))] }));
  expect(await (await fetch(`http://127.0.0.1:${listen.port}/`)).text()).toBe('revision 2\n');
});

test('the program that is installed elsewhere takes over', async () => {
  const { plane, another, processes, primary } = await home({ workers: 1 });
  await plane.ensure();
  const { listen } = await plane.apply(table(1, { routes: [route('a', await backend('1'))] }));
  const folder = await installed();
  const old = await primary();
  await another({ entry: join(folder, 'main.js') }).upgrade();
  await until('the old one has ended', () => !isAlive(old), 20_000);
  expect(processes().map(({ words }) => words[1])).toEqual(
    expect.arrayContaining([join(folder, 'main.js'), join(folder, 'worker.js')]),
  );
  expect(await (await fetch(`http://127.0.0.1:${listen.port}/`)).text()).toBe('revision 1\n');
});

test('workers that die as soon as they start are started again ever more slowly', async () => {
  const { state, plane, another, primary } = await home({ workers: 1 });
  await plane.ensure();
  await plane.apply(table(1, { routes: [route('a', await backend('1'))] }));
  const old = await primary();
  const folder = await installed();
  await writeFile(join(folder, 'worker.js'), 'process.exit(1);\n');
  // its workers never serve, so the old one stays
  await expect(another({ entry: join(folder, 'main.js') }).upgrade()).rejects.toMatchObject({
    code: 'UD_PROXY_FAILED',
  });
  expect(await primary()).toBe(old);
  const lines = (await readFile(join(state, 'proxy.log'), 'utf8')).trim().split('\n');
  const log = lines.map((line) => JSON.parse(line) as { message: string; wait?: number });
  const waits = log.filter(({ message }) => message === 'a worker is replaced').map(({ wait }) => wait);
  expect(waits.slice(0, 4)).toEqual([0, 200, 400, 800]);
  expect(waits.length).toBeLessThan(10);
});

test('a WebSocket from before an upgrade goes on, and is told to go after its grace time', async () => {
  const { plane } = await home({ workers: 1 });
  await plane.ensure();
  const app = await backend('1');
  const server = new WebSocketServer({ server: app.server });
  server.on('connection', (socket) => socket.on('message', (text) => socket.send(String(text))));
  const traffic = { ...DEFAULT_TRAFFIC, drain: { websocket: 300, events: 300 } };
  const { listen } = await plane.apply(table(1, { routes: [route('a', app)], traffic }));
  const socket = new WebSocket(`ws://127.0.0.1:${listen.port}/`);
  await once(socket, 'open');
  const closed = once(socket, 'close');
  await plane.upgrade();
  socket.send('still here');
  expect(String((await once(socket, 'message'))[0])).toBe('still here');
  expect((await closed)[0]).toBe(1001);
});

test('a data plane that is stopped in the midst of an upgrade leaves nothing', async () => {
  const { state, plane, another, processes, primary } = await home({ workers: 1 });
  await plane.ensure();
  await plane.apply(table(1, { routes: [route('a', await backend('1'))] }));
  await primary();
  const upgrade = another()
    .upgrade()
    .catch((error: unknown) => error);
  await until('the new one is there', () => processes().some(({ words }) => words.includes('--heir')));
  await plane.stop();
  await upgrade;
  await until('all have ended', () => processes().length === 0, 40_000);
  expect(existsSync(join(state, 'proxy.sock'))).toBe(false);
});
