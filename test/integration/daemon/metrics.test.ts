import { once } from 'node:events';
import { existsSync, readFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { type AddressInfo, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { execa } from 'execa';
import { expect, onTestFinished, test } from 'vitest';
import { embeddedDataPlane } from '../../../src/proxy/embedded/client.ts';
import { end, isAlive, processesOf } from '../../support/cli/processes.ts';
import { table } from '../proxy/home.ts';
import { backend, route, until } from '../proxy/scene.ts';

const UNIDEPLOY = fileURLToPath(new URL('../../../bin/unideploy', import.meta.url));

test('the controller serves the figures to Prometheus, and upgrades the data plane by command', async () => {
  const state = await mkdtemp(join(tmpdir(), 'ud-'));
  const cli = (...args: string[]) =>
    execa(process.execPath, [UNIDEPLOY, ...args, '--state', state], { reject: false, cwd: state });
  const plane = embeddedDataPlane({ state, workers: 1 });
  onTestFinished(async () => {
    // The controllers had the command last.
    await embeddedDataPlane({ state, fence: { token: Number.MAX_SAFE_INTEGER, check: () => {} } }).stop();
    for (const { pid } of processesOf(state)) end(pid, 'SIGTERM');
    await until('no process is left over', () => processesOf(state).length === 0, 40_000);
    await rm(state, { recursive: true });
  });
  const serve = async (...args: string[]) => {
    const controller = cli('serve', ...args);
    const { pid } = controller;
    if (pid === undefined) throw new Error('the controller did not start');
    let said = '';
    controller.stderr.on('data', (piece: Buffer) => {
      said += piece.toString();
    });
    await until('the controller answers', () => said.includes(`controller ${pid} serves`), 30_000);
    return pid;
  };
  const port = await freePort();
  const url = `http://127.0.0.1:${port}/metrics`;
  const first = await serve('--metrics', `127.0.0.1:${port}`);
  // nothing is served yet, and that is no fault
  expect(await (await fetch(url)).text()).toBe('');

  await plane.ensure();
  await plane.apply(table(1, { routes: [route('a', await backend('1'))] }));
  const answer = await fetch(url);
  expect(answer.headers.get('content-type')).toBe('text/plain; version=0.0.4; charset=utf-8');
  expect(await answer.text()).toContain('unideploy_held{service="shop"} 0\n');
  expect((await fetch(`http://127.0.0.1:${port}/`)).status).toBe(404);
  expect((await fetch(url, { method: 'POST' })).status).toBe(404);
  expect(await cli('metrics')).toMatchObject({
    exitCode: 0,
    stdout: expect.stringContaining('unideploy_held{service="shop"} 0\n'),
  });

  const pid = () => Number(readFileSync(join(state, 'proxy.pid'), 'utf8'));
  const old = pid();
  expect(await cli('proxy', 'upgrade')).toMatchObject({
    exitCode: 0,
    stdout: 'done: the data plane is upgraded',
  });
  expect(pid()).not.toBe(old);
  await until('the old one has ended', () => !isAlive(old), 40_000);
  expect(await plane.status()).toMatchObject([{ service: 'shop', version: 1 }]);
  expect((await cli('proxy', 'upgrad')).stderr).toContain('UD_USAGE');

  // the next controller serves them where the last one did, until it is told otherwise
  await killed(first);
  const second = await serve();
  expect((await fetch(url)).status).toBe(200);
  await killed(second);
  const third = await serve('--metrics', 'off');
  await expect(fetch(url)).rejects.toThrow();
  expect(existsSync(join(state, 'metrics-address'))).toBe(false);
  await killed(third);

  const taken = createServer().listen(port, '127.0.0.1');
  await once(taken, 'listening');
  onTestFinished(() => void taken.close());
  expect(await cli('serve', '--metrics', `127.0.0.1:${port}`)).toMatchObject({
    exitCode: 4,
    stderr: expect.stringContaining('UD_PORT_IN_USE'),
  });
  expect((await cli('serve', '--metrics', 'everywhere')).stderr).toContain('expected host:port, or off');
});

async function killed(pid: number): Promise<void> {
  end(pid, 'SIGKILL');
  await until('the process has ended', () => !isAlive(pid));
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}
