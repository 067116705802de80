import { existsSync } from 'node:fs';
import { mkdtemp, rm, stat, writeFile } from 'node:fs/promises';
import type { ServerResponse } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { execa } from 'execa';
import { expect, onTestFinished, test } from 'vitest';
import { embeddedDataPlane } from '../../../src/proxy/embedded/client.ts';
import { isAlive, type Process, processesOf } from '../../support/cli/processes.ts';
import { startLoad } from '../../support/http/load.ts';
import { home, table } from './home.ts';
import { backend, route, until } from './scene.ts';

// The process is the compiled one: Node 20 does not run TypeScript. `npm run build` makes it.
const BUILT = new URL('../../../dist/src/proxy/embedded/', import.meta.url);

test('is started once, and adopted by whoever comes next', async () => {
  const { state, plane, primary: pid } = await home();
  await Promise.all([plane.ensure(), embeddedDataPlane({ state }).ensure()]);
  await until('the second process has given way', () => primariesOf(state).length === 1, 20_000);
  const first = await pid();
  const app = await backend('1');
  const { listen } = await plane.apply(table(1, { routes: [route('a', app)] }));
  expect((await stat(join(state, 'proxy.sock'))).mode & 0o777).toBe(0o600);

  const next = embeddedDataPlane({ state });
  await next.ensure();
  expect(await pid()).toBe(first);
  expect(await next.status()).toMatchObject([{ service: 'shop', version: 1, listen }]);
  await expect(next.apply(table(1, {}))).rejects.toMatchObject({ code: 'UD_TABLE_REFUSED' });
  await expect(next.apply(table(2, { listen: { host: '127.0.0.1', port: app.port } }))).rejects.toMatchObject(
    {
      code: 'UD_PORT_IN_USE',
    },
  );
  expect(await (await fetch(`http://127.0.0.1:${listen.port}/`)).text()).toBe('revision 1\n');
  await next.remove('shop', 100);
  await next.remove('shop', 100);
  expect(await plane.status()).toEqual([]);
});

test('a second process for the same directory is refused with a clear line', async () => {
  const { state, plane } = await home();
  await plane.ensure();
  const second = await execa(
    process.execPath,
    [new URL('process/main.js', BUILT).pathname, '--state', state],
    {
      reject: false,
    },
  );
  expect(second.exitCode).toBe(5);
  expect(second.stderr).toContain('another data plane serves this state directory');
  expect(await plane.status()).toEqual([]);
});

test('goes on serving when the process that started it is killed, hang-up included', async () => {
  const { state, plane, primary: pid } = await home();
  const script = `
    const { embeddedDataPlane } = await import(${JSON.stringify(new URL('client.js', BUILT).href)});
    await embeddedDataPlane({ state: process.argv[1] }).ensure();
    console.log('up');
    setInterval(() => {}, 1000);`;
  const parent = execa(process.execPath, ['--input-type=module', '-e', script, state], { reject: false });
  await new Promise((resolve) => parent.stdout.once('data', resolve));
  const app = await backend('1');
  const { listen } = await plane.apply(table(1, { routes: [route('a', app)] }));
  const load = startLoad({ url: `http://127.0.0.1:${listen.port}/`, connections: 4 });
  parent.kill('SIGKILL');
  await parent;
  process.kill(await pid(), 'SIGHUP');
  const { ok } = load.ledger;
  await until('load after the kill', () => load.ledger.ok >= ok + 500, 20_000);
  expect((await load.stop()).failures).toEqual([]);
});

test('a process that was killed is replaced: what it left behind is in nobody’s way', async () => {
  const { plane, primary: pid } = await home();
  await plane.ensure();
  const first = await pid();
  process.kill(first, 'SIGKILL');
  await until('the process has ended', () => !isAlive(first));
  await expect(plane.status()).rejects.toMatchObject({ code: 'UD_PROXY_FAILED' });
  await plane.ensure();
  expect(isAlive(await pid(first))).toBe(true);
  expect(await plane.status()).toEqual([]);
});

test('SIGTERM answers what is in flight, and frees the directory for the next at once', async () => {
  const { state, plane, primary: pid } = await home();
  await plane.ensure();
  const first = await pid();
  const waiting: ServerResponse[] = [];
  const slow = await backend((_req, res) => {
    waiting.push(res);
  });
  const { listen } = await plane.apply(table(1, { routes: [route('a', slow)] }));
  const answer = fetch(`http://127.0.0.1:${listen.port}/`).then((res) => res.text());
  await until('the request is in flight', () => waiting.length === 1);
  process.kill(first, 'SIGTERM');
  await until('the socket is given up', () => !existsSync(join(state, 'proxy.sock')));
  const next = embeddedDataPlane({ state });
  await next.ensure();
  await next.apply(table(1, { listen, routes: [route('b', await backend('2'))] }));
  expect(await (await fetch(`http://127.0.0.1:${listen.port}/`)).text()).toBe('revision 2\n');
  waiting[0]?.end('whole');
  expect(await answer).toBe('whole');
  await until('the old process has ended', () => !isAlive(first));
});

test('a drain over the control socket waits for its request and cuts at its deadline', async () => {
  const { plane } = await home();
  await plane.ensure();
  const waiting: ServerResponse[] = [];
  const slow = await backend((_req, res) => {
    waiting.push(res);
  });
  const { listen } = await plane.apply(table(1, { routes: [route('a', slow)] }));
  const url = `http://127.0.0.1:${listen.port}/`;
  const first = fetch(url);
  await until('the request is in flight', () => waiting.length === 1);
  const drain = plane.drained('shop', 'a', 60_000);
  waiting[0]?.end();
  expect(await drain).toMatchObject({ cut: 0 });
  await (await first).text();
  const second = fetch(url);
  await until('the request is in flight', () => waiting.length === 2);
  expect(await plane.drained('shop', 'a', 20)).toMatchObject({ cut: 1 });
  expect((await second).status).toBe(503);
});

test('a process that cannot start is reported with the last line of its log', async () => {
  const state = await mkdtemp(join(tmpdir(), 'ud-'));
  onTestFinished(() => rm(state, { recursive: true }));
  const entry = join(state, 'broken.mjs');
  await writeFile(
    entry,
    'console.error("first line");\nconsole.error("the disk is on fire");\nprocess.exit(1);\n',
  );
  await expect(embeddedDataPlane({ state, entry }).ensure()).rejects.toMatchObject({
    code: 'UD_PROXY_FAILED',
    message: expect.stringContaining('the disk is on fire'),
  });
});

/** Its workers have the folder among their words, too. */
function primariesOf(state: string): Process[] {
  return processesOf(state).filter(({ words }) => words.some((word) => word.endsWith('main.js')));
}
