import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync, statSync } from 'node:fs';
import { mkdir, readdir, readFile, rm, symlink, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { findUsers } from '../../../src/confinement.ts';
import { startDetached } from '../../../src/detached.ts';
import type { Hypervisor } from '../../../src/hypervisor/port.ts';
import { commandLine } from '../../../src/hypervisor/qemu/command-line.ts';
import { limitsOf } from '../../../src/hypervisor/qemu/limits.ts';
import {
  isProcessOf,
  livingPid,
  type RunDirectory,
  runDirectory,
} from '../../../src/hypervisor/qemu/run-directory.ts';
import { answersWith, endpointOf, eventually, see } from '../../support/qemu/asking.ts';
import { type World, world } from '../../support/qemu/world.ts';

let here: World;
let hypervisor: Hypervisor;

beforeAll(async () => {
  here = await world();
  hypervisor = here.hypervisor();
});
afterAll(() => here.end());

describe("a running guest's QEMU", () => {
  const ID = 'site-1-1';
  let directory: RunDirectory;
  let pid: number;

  beforeAll(async () => {
    // What is in the controller's environment is not for guests.
    process.env.UD_CANARY_TOKEN = 'canary-of-the-environment';
    await hypervisor.launch(here.spec(ID, { volumes: [await here.volume('first')] }));
    delete process.env.UD_CANARY_TOKEN;
    directory = runDirectory(here.state, ID);
    pid = livingPid(directory) ?? 0;
    await answersWith(await endpointOf(hypervisor, ID), '/.unideploy/revision', 'first');
  });

  const status = (key: string) =>
    new RegExp(`^${key}:[ \\t]*(.*)$`, 'm').exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]?.trim();
  const limit = (name: string) =>
    Number(
      new RegExp(`^${name}\\s+(\\S+)`, 'm').exec(readFileSync(`/proc/${pid}/limits`, 'utf8'))?.[1] ?? 'NaN',
    );

  test('is in a seccomp sandbox and can gain no privileges', () => {
    expect(status('Seccomp')).toBe('2');
    expect(status('NoNewPrivs')).toBe('1');
    expect(readFileSync(`/proc/${pid}/cmdline`, 'utf8')).toContain(
      'on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny',
    );
  });

  test('runs as a user of its own where the controller is root, without capabilities', async () => {
    const users = await findUsers();
    const own = `${process.getuid?.()}`;
    const [uid] = status('Uid')?.split(/\s+/) ?? [];
    if ('why' in users) expect(uid).toBe(own);
    else {
      expect(Number(uid)).toBeGreaterThanOrEqual(users.first);
      expect(status('Uid')).toBe(Array(4).fill(uid).join('\t'));
      expect(status('Gid')).toBe(Array(4).fill(uid).join('\t'));
      expect(status('Groups')).toBe(users.groups.join(' '));
      expect(status('CapPrm')).toBe('0'.repeat(16));
      expect(status('CapBnd')).toBe('0'.repeat(16));
    }
  });

  test('has limits on memory, files and what it dumps', () => {
    expect(limit('Max address space')).toBe((128 + 3 * 1024 + 64) * 1024 * 1024);
    expect(limit('Max file size')).toBe(1024 * 1024 * 1024);
    expect(limit('Max open files')).toBe(16_384);
    expect(limit('Max core file size')).toBe(0);
  });

  test('knows nothing of the environment of the controller', () => {
    expect(readFileSync(`/proc/${pid}/environ`, 'utf8').split('\0').filter(Boolean).sort()).toEqual([
      'LC_ALL=C',
      `PATH=${process.env.PATH}`,
    ]);
  });

  test('reaches its artifacts, read-only, and nothing else of the state', async () => {
    const users = await findUsers();
    expect(await readdir(join(directory.path, 'artifacts'))).toHaveLength(3);
    if ('why' in users) return;
    const [uid = ''] = status('Uid')?.split(/\s+/) ?? [];
    // The same user in the same folder; what QEMU could do by itself, a shell shows.
    const as = (command: string) => {
      const words = [`--reuid=${uid}`, `--regid=${uid}`, '--clear-groups', '--', 'sh', '-c', command];
      try {
        execFileSync('setpriv', words, { cwd: directory.path, stdio: 'ignore' });
        return true;
      } catch {
        return false;
      }
    };
    const [artifact = ''] = await readdir(join(directory.path, 'artifacts'));
    expect(as(`head -c 1 artifacts/${artifact}`)).toBe(true);
    expect(as(`echo x >> artifacts/${artifact}`)).toBe(false);
    expect(as(`rm -f artifacts/${artifact}`)).toBe(false);
    expect(as('touch own/something && rm own/something')).toBe(true);
    expect(as('echo 1 > qemu.pid')).toBe(false);
    expect(as('rm -f console.log')).toBe(false);
    for (const closed of ['ls .', 'cat spec.json', 'cat attachments.json', 'ls ..', `cat ${directory.spec}`])
      expect([closed, as(closed)]).toEqual([closed, false]);
  });

  test('is recognised by where it runs, which nobody else can imitate', async () => {
    expect(isProcessOf(directory, pid)).toBe(true);
    const imitation = startDetached('sleep', ['60', `guest=${directory.path}`], {
      log: join(here.state, 'imitation.log'),
      cwd: here.state,
    });
    const liar = imitation.pid ?? 0;
    expect(isProcessOf(directory, liar)).toBe(false);
    imitation.kill('SIGKILL');
    await imitation;
  });

  test('gets a new volume lent, and an old one taken back', async () => {
    const [first] = (await see(hypervisor, ID)).volumes;
    const second = await here.volume('second');
    await hypervisor.attachVolume(ID, second);
    await answersWith(await endpointOf(hypervisor, ID), '/.unideploy/revision', 'second');
    if (first) await hypervisor.detachVolume(ID, first);
    const lent = await readdir(join(directory.path, 'artifacts'));
    expect(lent).toContain(second.digest);
    expect(lent).not.toContain(first?.digest);
    expect(statSync(join(directory.path, 'artifacts', second.digest)).mode & 0o777).toBe(0o444);
  });

  test("is not obeyed at another guest's monitor that it has put in the place of its own", async () => {
    await hypervisor.launch(here.spec('site-1-2'));
    const other = runDirectory(here.state, 'site-1-2');
    await hypervisor.close();
    await rm(directory.monitor);
    await symlink(other.monitor, directory.monitor);
    hypervisor = here.hypervisor();
    await hypervisor.stop(ID, 1_000);
    expect(livingPid(directory)).toBe(null);
    expect(livingPid(other)).not.toBe(null);
    await hypervisor.stop('site-1-2', 0);
  });
});

test('a guest that fills its console to the limit loses lines and goes on', async () => {
  const spec = here.spec('site-2-1');
  await hypervisor.launch(spec);
  const directory = runDirectory(here.state, spec.id);
  const pid = livingPid(directory) ?? 0;
  const limit = limitsOf(spec.machine, null).fileSize;
  // A hole: the guest appends behind it.
  await truncate(directory.console, limit - 10);
  await answersWith(await endpointOf(hypervisor, spec.id), '/health', /./);
  await eventually('the console is full', () => statSync(directory.console).size === limit);
  expect(livingPid(directory)).toBe(pid);
  await hypervisor.stop(spec.id, 0);
});

test('a disk image that names a file of the host is not booted', async () => {
  await mkdir(here.state, { recursive: true });
  const secret = join(here.state, 'secret');
  await writeFile(secret, 'x'.repeat(512));
  const image = join(here.state, 'image.qcow2');
  execFileSync('qemu-img', ['create', '-q', '-f', 'qcow2', '-b', secret, '-F', 'raw', image]);
  const disk = await here.keep(image);
  const spec = here.spec('site-3-1', { image: { kind: 'disk', disk, format: 'qcow2' } });
  await expect(hypervisor.launch(spec)).rejects.toMatchObject({
    code: 'UD_IMAGE_REFUSED',
    message: expect.stringContaining('names a backing file'),
  });
  expect(livingPid(runDirectory(here.state, spec.id))).toBe(null);
});

test('a raw disk whose bytes are those of a qcow2 stays raw', async () => {
  const image = join(here.state, 'image.raw');
  execFileSync('qemu-img', ['create', '-q', '-f', 'qcow2', '-b', '/etc/passwd', '-F', 'raw', image, '1M']);
  const disk = await here.keep(image);
  const spec = here.spec('site-3-2', { image: { kind: 'disk', disk, format: 'raw' } });
  await hypervisor.launch(spec);
  const pid = livingPid(runDirectory(here.state, spec.id)) ?? 0;
  const open = (await readdir(`/proc/${pid}/map_files`).catch(() => [])).join();
  expect(open).not.toContain('passwd');
  expect(execFileSync('ls', ['-l', `/proc/${pid}/fd`], { encoding: 'utf8' })).not.toContain('/etc/passwd');
  await hypervisor.stop(spec.id, 0);
});

test('a state folder may be called anything: a guest runs, and takes a volume', async () => {
  const state = join(here.state, `a,b "c" 'd' json:{} nbd:x\n$(e)`);
  const other = here.hypervisor({ state });
  await other.launch(here.spec('site-5-1', { volumes: [await here.volume('first')] }));
  await answersWith(await endpointOf(other, 'site-5-1'), '/.unideploy/revision', 'first');
  await other.attachVolume('site-5-1', await here.volume('second'));
  await answersWith(await endpointOf(other, 'site-5-1'), '/.unideploy/revision', 'second');
  await other.stop('site-5-1', 0);
});

test('a guest that an earlier version has started is adopted, changed and stopped', async () => {
  const volume = await here.volume('first');
  const spec = here.spec('site-4-1');
  const path = join(here.state, 'run', spec.id);
  await mkdir(path, { recursive: true, mode: 0o700 });
  await writeFile(join(path, 'spec.json'), JSON.stringify(spec));
  // As version 0.1.0 did: everything by its whole path, as the controller's user.
  const all = commandLine(spec, { directory: { path }, accel: 'tcg', volumes: [] });
  const spare = all.indexOf('socket,id=spare,path=own/spare,server=on,wait=off') - 1;
  const words = all.toSpliced(spare, 4).map((word) =>
    word
      .replace(`guest=${path}`, `guest=${spec.id}`)
      .replace(/^artifacts\//, join(here.artifactPath(''), '/'))
      .replace('own/qmp', join(path, 'qmp.sock'))
      .replace('own/debug', join(path, 'debug.sock'))
      .replace('path=console.log', `path=${join(path, 'console.log')}`),
  );
  startDetached('qemu-system-x86_64', [...words, '-pidfile', join(path, 'qemu.pid')], {
    log: join(path, 'qemu.log'),
    cwd: path,
  });
  await eventually('its monitor is there', () => existsSync(join(path, 'qmp.sock')));
  const next = here.hypervisor();
  expect(await see(next, spec.id)).toMatchObject({ state: 'running', runState: 'running' });
  await answersWith(await endpointOf(next, spec.id), '/health', /./);
  await next.attachVolume(spec.id, volume);
  await answersWith(await endpointOf(next, spec.id), '/.unideploy/revision', 'first');
  await next.stop(spec.id, 10_000);
  expect(await see(next, spec.id)).toMatchObject({ state: 'stopped' });
  expect((await readFile(join(path, 'console.log'), 'utf8')).length).toBeGreaterThan(0);
  await next.remove(spec.id);
  await next.close();
});
