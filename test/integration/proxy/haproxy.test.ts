import { mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { z } from 'zod';
import { DEFAULT_TRAFFIC } from '../../../src/domain/traffic.ts';
import { haproxyDataPlane } from '../../../src/proxy/haproxy/index.ts';
import type { DataPlane, Route, RoutingTable } from '../../../src/proxy/port.ts';
import { startLoad } from '../../support/http/load.ts';
import { eventually } from './engines.ts';
import { backend, openWire, route, until } from './scene.ts';

async function home(longest = 0): Promise<{ state: string; plane: DataPlane }> {
  const parent = await mkdtemp(join(tmpdir(), 'ud-'));
  const state = join(parent, 's'.repeat(Math.max(1, longest - parent.length - 1)));
  await mkdir(state);
  const plane = haproxyDataPlane({ state });
  onTestFinished(async () => {
    for (const { service } of await plane.status()) await plane.remove(service, 0);
    await plane.stop();
    await rm(parent, { recursive: true });
  });
  return { state, plane };
}

function table(version: number, routes: Route[], change: Partial<RoutingTable> = {}): RoutingTable {
  const listen = { host: '127.0.0.1', port: 0 };
  return {
    service: 'shop',
    version,
    listen,
    hold: false,
    preview: null,
    traffic: DEFAULT_TRAFFIC,
    routes,
    ...change,
  };
}

/** The one process of the state folder, by the record that it left. */
async function processOf(state: string): Promise<{ pid: number; id: string }> {
  const folder = join(state, 'haproxy');
  const names = (await readdir(folder)).filter((name) => name.endsWith('.json'));
  expect(names).toHaveLength(1);
  const text = await readFile(join(folder, names[0] ?? ''), 'utf8');
  return z.object({ pid: z.int(), id: z.string() }).parse(JSON.parse(text));
}

test('a program that is not installed is named, with its package', async () => {
  const { state } = await home();
  const plane = haproxyDataPlane({ state, program: 'haproxy-that-nobody-has' });
  const missing = { code: 'UD_TOOL_MISSING', next: expect.stringContaining('apt-get install haproxy') };
  await expect(plane.ensure()).rejects.toMatchObject(missing);
  await expect(plane.apply(table(1, []))).rejects.toMatchObject(missing);
  expect(await plane.status()).toEqual([]);
});

test('the runtime socket is for its user only, in a state folder with the longest path', async () => {
  const { state, plane } = await home(66);
  await plane.apply(table(1, [route('a', await backend('1'))], { service: 'a service with a long name' }));
  const { id } = await processOf(state);
  expect((await stat(join(state, 'haproxy', `${id}.sock`))).mode & 0o777).toBe(0o600);
  expect(() => haproxyDataPlane({ state: `/${'s'.repeat(66)}` })).toThrow(/too long/);
});

test('names in any alphabet get servers of their own', async () => {
  const { plane } = await home();
  const [one, two] = [await backend('1'), await backend('2')];
  const service = 'kaffee & käse_1';
  const { listen } = await plane.apply(table(1, [route('ä b', one), route('ä_b', two)], { service }));
  const answers = new Set<string>();
  for (let n = 0; n < 4; n++) answers.add(await (await fetch(`http://127.0.0.1:${listen.port}/`)).text());
  expect(answers).toEqual(new Set(['revision 1\n', 'revision 2\n']));
  expect(await plane.drained(service, 'ä b', 1_000)).toMatchObject({ cut: 0 });
});

test('a process that was killed serves no more, and the same table starts another on the same port', async () => {
  const { state, plane } = await home();
  const { listen } = await plane.apply(table(1, [route('a', await backend('1'))]));
  const { pid } = await processOf(state);
  process.kill(pid, 'SIGKILL');
  await eventually('it is gone', async () => (await plane.status()).length === 0);
  await plane.apply(table(1, [route('a', await backend('1'))], { listen }));
  expect((await processOf(state)).pid).not.toBe(pid);
  expect((await fetch(`http://127.0.0.1:${listen.port}/`)).status).toBe(200);
});

test('what a controller left half done is ended by the next one', async () => {
  const { state, plane } = await home();
  for (const [i, role] of ['starting', 'leaving'].entries()) {
    await plane.apply(table(i + 1, [route('a', await backend('1'))]));
    const { pid, id } = await processOf(state);
    const file = join(state, 'haproxy', `${id}.json`);
    await writeFile(file, (await readFile(file, 'utf8')).replace('"role": "serving"', `"role": "${role}"`));
    expect(await haproxyDataPlane({ state }).status()).toEqual([]);
    await until('the process has ended', () => !alive(pid));
    await eventually('its files are gone', async () => (await readdir(join(state, 'haproxy'))).length === 0);
  }
});

test('a process whose number its controller did not live to write is ended by the next one', async () => {
  const { state, plane } = await home();
  await plane.apply(table(1, [route('a', await backend('1'))]));
  const { pid, id } = await processOf(state);
  const file = join(state, 'haproxy', `${id}.json`);
  const half = (await readFile(file, 'utf8'))
    .replace('"role": "serving"', '"role": "starting"')
    .replace(`"pid": ${pid}`, '"pid": 0');
  await writeFile(file, half);
  expect(await haproxyDataPlane({ state }).status()).toEqual([]);
  await until('the process has ended', () => !alive(pid));
  expect(await readdir(join(state, 'haproxy'))).toEqual([]);
});

test('of two processes at one address, as a controller leaves them that was killed, the older one leaves', async () => {
  const { state, plane } = await home();
  const app = await backend('1');
  const { listen } = await plane.apply(table(1, [route('a', app)]));
  const { pid, id } = await processOf(state);
  const old = await readFile(join(state, 'haproxy', `${id}.json`), 'utf8');
  const kept = await openWire(listen.port);
  kept.socket.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n');
  await until('an answer', () => kept.received().includes('revision 1'));
  await plane.upgrade();
  await writeFile(join(state, 'haproxy', `${id}.json`), old);
  const next = haproxyDataPlane({ state });
  expect(await next.status()).toHaveLength(1);
  kept.socket.destroy();
  await until('the older one has ended', () => !alive(pid));
  await eventually('its files are gone', async () => {
    const names = await readdir(join(state, 'haproxy'));
    return names.filter((name) => name.endsWith('.json')).length === 1;
  });
  expect(await next.status()).toMatchObject([{ service: 'shop' }]);
  expect((await processOf(state)).pid).not.toBe(pid);
  expect((await fetch(`http://127.0.0.1:${listen.port}/`)).status).toBe(200);
});

test('a table that the runtime API can take starts no process, any other one does', async () => {
  const { state, plane } = await home();
  const [a, b] = [route('a', await backend('1')), route('b', await backend('1'))];
  await plane.apply(table(1, [a]));
  const { pid } = await processOf(state);
  await plane.apply(table(2, [a, b]));
  await plane.apply(table(3, [{ ...a, weight: 0 }, b], { hold: true }));
  expect((await processOf(state)).pid).toBe(pid);
  await plane.apply(table(4, [a, { ...b, revision: 2, weight: 5 }]));
  await eventually('the first one has ended', async () => {
    const names = await readdir(join(state, 'haproxy'));
    return names.filter((name) => name.endsWith('.json')).length === 1;
  });
  const { pid: second } = await processOf(state);
  await plane.apply(
    table(5, [
      { ...a, weight: 50 },
      { ...b, revision: 2, weight: 50 },
    ]),
  );
  expect((await processOf(state)).pid).toBe(second);
});

test('two processes never share a port', async () => {
  const [{ plane }, other] = [await home(), await home()];
  const { listen } = await plane.apply(table(1, []));
  await expect(other.plane.apply(table(1, [], { listen }))).rejects.toMatchObject({ code: 'UD_PORT_IN_USE' });
});

test('an instance that left the table is deleted once its request has ended, and may come back', async () => {
  const { state, plane } = await home();
  const app = await backend('1');
  const other = await backend('2');
  const { listen } = await plane.apply(table(1, [route('a', app)]));
  const load = startLoad({ url: `http://127.0.0.1:${listen.port}/`, connections: 4 });
  for (let version = 2; version < 22; version += 2) {
    const { ok } = load.ledger;
    await plane.apply(table(version, [route('b', other)]));
    await plane.apply(table(version + 1, [route('a', app), route('b', other)]));
    await until('load after the change', () => load.ledger.ok >= ok + 50);
  }
  await plane.apply(table(22, [route('b', other)]));
  expect(await plane.drained('shop', 'a', 5_000)).toMatchObject({ cut: 0 });
  await until('no connection to it is left', () => app.sockets.size === 0);
  expect((await load.stop()).failures).toEqual([]);
  expect((await processOf(state)).pid).toBeGreaterThan(0);
});

test('when a service is removed, nothing of it is left', async () => {
  const { state, plane } = await home();
  await plane.apply(table(1, [route('a', await backend('1'))]));
  const { pid } = await processOf(state);
  await plane.remove('shop', 1_000);
  expect(await readdir(join(state, 'haproxy'))).toEqual([]);
  await until('the process has ended', () => !alive(pid));
});

function alive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}
