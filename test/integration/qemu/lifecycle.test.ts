import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Hypervisor } from '../../../src/hypervisor/port.ts';
import { createRunDirectory, runDirectory } from '../../../src/hypervisor/qemu/run-directory.ts';
import { answersWith, endpointOf, eventually, see } from '../../support/qemu/asking.ts';
import { MACHINE, type World, world } from '../../support/qemu/world.ts';

let here: World;
let hypervisor: Hypervisor;

beforeAll(async () => {
  here = await world();
  hypervisor = here.hypervisor();
});
afterAll(() => here.end());

test('a launch that was cut off before QEMU was started leaves no machine', async () => {
  const cutOff = here.spec('site-9-1');
  await createRunDirectory(runDirectory(here.state, cutOff.id), cutOff);
  const next = here.hypervisor();
  expect(await next.list()).toEqual([]);
  expect(existsSync(runDirectory(here.state, cutOff.id).path)).toBe(false);
});

describe('one machine from launch to removal', () => {
  const ID = 'site-1-1';

  test('launch resolves when the monitor answers; the guest answers later', async () => {
    const changes: string[] = [];
    const stop = hypervisor.onChange((id) => changes.push(id));
    await hypervisor.launch(here.spec(ID));
    const machine = await see(hypervisor, ID);
    expect(machine).toMatchObject({ state: 'running', runState: 'running', volumes: [] });
    expect(machine.endpoint?.host).toBe('127.0.0.1');
    await answersWith(await endpointOf(hypervisor, ID), '/.unideploy/revision', /^image-/);
    expect(changes).toContain(ID);
    stop();
  });

  test('launching it again changes nothing', async () => {
    const before = await readFile(runDirectory(here.state, ID).pid, 'utf8');
    await hypervisor.launch(here.spec(ID));
    expect(await readFile(runDirectory(here.state, ID).pid, 'utf8')).toBe(before);
  });

  test('another controller adopts it: same endpoint, same volumes, and it can change them', async () => {
    const volume = await here.volume('first');
    await hypervisor.attachVolume(ID, volume);
    const endpoint = await endpointOf(hypervisor, ID);
    await hypervisor.close();
    await answersWith(endpoint, '/.unideploy/revision', 'first');

    hypervisor = here.hypervisor();
    expect(await see(hypervisor, ID)).toEqual({
      spec: here.spec(ID),
      state: 'running',
      runState: 'running',
      endpoint,
      volumes: [{ name: 'code', digest: volume.digest }],
    });
    await hypervisor.detachVolume(ID, volume);
    expect((await see(hypervisor, ID)).volumes).toEqual([]);
  });

  test('it is not taken for stopped when its pid file was never written', async () => {
    const { pid } = runDirectory(here.state, ID);
    await rename(pid, `${pid}.away`);
    const next = here.hypervisor();
    await hypervisor.close();
    hypervisor = next;
    expect(await see(hypervisor, ID)).toMatchObject({ state: 'running', runState: 'running' });
    await rename(`${pid}.away`, pid);
  });

  test('its console is kept', async () => {
    expect((await hypervisor.console(ID, 50)).join('\n')).toContain('unideploy: ready');
    expect(await hypervisor.console(ID, 1)).toHaveLength(1);
  });

  test('following it ends when nobody wants more', async () => {
    const enough = new AbortController();
    const lines = hypervisor.followConsole(ID, 1, enough.signal)[Symbol.asyncIterator]();
    expect((await lines.next()).value).toContain('unideploy:');
    const next = lines.next();
    enough.abort();
    expect(await next).toMatchObject({ done: true });
  });

  test('people have a monitor of their own', () => {
    expect(existsSync(runDirectory(here.state, ID).debug)).toBe(true);
  });

  test('it cannot be forgotten while it runs', async () => {
    await expect(hypervisor.remove(ID)).rejects.toMatchObject({ code: 'UD_LOCKED' });
  });

  test('a QEMU that is stopped by a signal looks unknown, keeps nobody waiting, and comes back', async () => {
    const pid = Number(await readFile(runDirectory(here.state, ID).pid, 'utf8'));
    process.kill(pid, 'SIGSTOP');
    // Its last word counts for a moment.
    await eventually('it looks unknown', async () => (await see(hypervisor, ID)).runState === null);
    const began = Date.now();
    for (let look = 0; look < 5; look++)
      expect(await see(hypervisor, ID)).toMatchObject({ state: 'running', runState: null });
    expect(Date.now() - began).toBeLessThan(1_000);
    process.kill(pid, 'SIGCONT');
    await eventually('it answers again', async () => (await see(hypervisor, ID)).runState === 'running');
  });

  test('it powers down when asked, and is forgotten when removed', async () => {
    const followed: string[] = [];
    const following = (async () => {
      for await (const line of hypervisor.followConsole(ID, 2, new AbortController().signal))
        followed.push(line);
    })();
    await eventually('old lines are shown', () => followed.length === 2);
    const began = Date.now();
    await hypervisor.stop(ID, 10_000);
    expect(Date.now() - began).toBeLessThan(5_000);
    expect(await see(hypervisor, ID)).toMatchObject({ state: 'stopped', runState: null, endpoint: null });
    expect((await hypervisor.console(ID, 20)).join('\n')).toMatch(/power/i);
    await hypervisor.stop(ID, 10_000);
    await hypervisor.remove(ID);
    await hypervisor.remove(ID);
    expect(await hypervisor.list()).toEqual([]);
    await following;
    expect(followed.join('\n')).toContain('power off');
    expect((await hypervisor.console(ID, 20)).join('\n')).toContain('power off');
    await expect(hypervisor.console('site-9-9', 1)).rejects.toMatchObject({ code: 'UD_UNKNOWN_INSTANCE' });
  });
});

describe('what goes wrong', () => {
  test('a QEMU that ends at once is reported with its own words', async () => {
    const spec = here.spec('site-2-1', { machine: { cpu: 'no-such-cpu' } });
    await expect(hypervisor.launch(spec)).rejects.toMatchObject({
      code: 'UD_GUEST_START',
      message: expect.stringContaining('no-such-cpu'),
    });
    expect(await see(hypervisor, 'site-2-1')).toMatchObject({ state: 'stopped' });
    await hypervisor.remove('site-2-1');
  });

  test('a missing QEMU is a missing tool', async () => {
    const other = here.hypervisor({ qemu: 'qemu-system-of-nowhere' });
    await expect(other.launch(here.spec('site-2-2'))).rejects.toMatchObject({
      code: 'UD_TOOL_MISSING',
      next: expect.stringContaining('apt-get install qemu-system-x86'),
    });
    await other.remove('site-2-2');
  });

  test('a killed QEMU is seen as stopped, and told', async () => {
    await hypervisor.launch(here.spec('site-2-3'));
    const changes: string[] = [];
    const stop = hypervisor.onChange((id) => changes.push(id));
    process.kill(Number(await readFile(runDirectory(here.state, 'site-2-3').pid, 'utf8')), 'SIGKILL');
    await eventually('the change is told', () => changes.includes('site-2-3'));
    await eventually('it is stopped', async () => (await see(hypervisor, 'site-2-3')).state === 'stopped');
    stop();
  });

  test('it can be launched again after that', async () => {
    await hypervisor.launch(here.spec('site-2-3'));
    expect(await see(hypervisor, 'site-2-3')).toMatchObject({ state: 'running' });
  });

  test('a QEMU that hangs is ended all the same', async () => {
    const pid = Number(await readFile(runDirectory(here.state, 'site-2-3').pid, 'utf8'));
    process.kill(pid, 'SIGSTOP');
    await hypervisor.stop('site-2-3', 20_000);
    await eventually('its process is reaped', () => !existsSync(`/proc/${pid}`), 1_000);
    expect(await see(hypervisor, 'site-2-3')).toMatchObject({ state: 'stopped' });
  });

  test('a panic is kept for its evidence, and stop does not wait for the dead', async () => {
    const machine = { cmdline: `${MACHINE.cmdline} ud.fault=panic-after:1` };
    await hypervisor.launch(here.spec('site-2-6', { machine }));
    const panicked = async () => (await see(hypervisor, 'site-2-6')).runState === 'guest-panicked';
    await eventually('the guest panics', panicked, 30_000);
    const began = Date.now();
    await hypervisor.stop('site-2-6', 20_000);
    expect(Date.now() - began).toBeLessThan(5_000);
  });

  test('a machine whose monitor is gone is stopped by a signal', async () => {
    await hypervisor.launch(here.spec('site-2-7'));
    const { monitor, spare, debug } = runDirectory(here.state, 'site-2-7');
    await hypervisor.close();
    for (const socket of [monitor, spare, debug]) await rm(socket);
    hypervisor = here.hypervisor();
    expect(await see(hypervisor, 'site-2-7')).toMatchObject({ state: 'running', runState: null });
    await hypervisor.stop('site-2-7', 20_000);
    expect(await see(hypervisor, 'site-2-7')).toMatchObject({ state: 'stopped' });
  });

  test('while it is launched it is starting, and never looks stopped', async () => {
    const states = new Set<string>();
    let launched = false;
    const launching = hypervisor.launch(here.spec('site-2-8')).finally(() => {
      launched = true;
    });
    while (!launched)
      for (const { spec, state } of await hypervisor.list()) if (spec.id === 'site-2-8') states.add(state);
    await launching;
    expect(states).not.toContain('stopped');
    await hypervisor.stop('site-2-8', 0);
  });

  test('a directory that never got a process is stopped, and goes when removed', async () => {
    const { path, spec } = runDirectory(here.state, 'site-2-4');
    await mkdir(path, { recursive: true });
    await writeFile(spec, JSON.stringify(here.spec('site-2-4')));
    await writeFile(join(path, 'qemu.pid'), String(process.pid));
    expect(await see(hypervisor, 'site-2-4')).toMatchObject({ state: 'stopped' });
    await hypervisor.remove('site-2-4');
    expect(existsSync(path)).toBe(false);
  });

  test('a state directory whose sockets would have too long names', async () => {
    const other = here.hypervisor({ state: join(here.state, 'x'.repeat(80)) });
    await expect(other.launch(here.spec('site-2-5'))).rejects.toMatchObject({ code: 'UD_STATE_PATH' });
  });
});

describe('a root disk', () => {
  test('is written in an overlay, and the image of the store stays as it is', async () => {
    const raw = join(here.state, 'disk.img');
    execFileSync('qemu-img', ['create', '-q', '-f', 'raw', raw, '1M']);
    const disk = await here.keep(raw);
    await hypervisor.launch(here.spec('site-3-1', { image: { kind: 'disk', disk, format: 'raw' } }));
    await hypervisor.launch(here.spec('site-3-2', { image: { kind: 'disk', disk, format: 'raw' } }));
    expect(await see(hypervisor, 'site-3-2')).toMatchObject({ state: 'running', volumes: [] });
    await hypervisor.stop('site-3-1', 0);
    const { root } = runDirectory(here.state, 'site-3-1');
    expect(
      JSON.parse(execFileSync('qemu-img', ['info', '--output=json', root], { encoding: 'utf8' })),
    ).toMatchObject({
      format: 'qcow2',
      'backing-filename': `artifacts/${disk}`,
      'backing-filename-format': 'raw',
    });
  });
});

describe('what is known of a machine that goes wrong', () => {
  const MIB = 2 ** 20;

  test('how its process ended, and what QEMU said last', async () => {
    await hypervisor.launch(here.spec('site-4-1'));
    const pid = Number(await readFile(runDirectory(here.state, 'site-4-1').pid, 'utf8'));
    process.kill(pid, 'SIGKILL');
    const ended = async () => (await hypervisor.vitals('site-4-1')).exit !== null;
    await eventually('its end is known', ended);
    expect((await hypervisor.vitals('site-4-1')).exit).toEqual({ code: null, signal: 'SIGKILL' });
    expect(await hypervisor.dump('site-4-1', 1024)).toBeNull();
  });

  test('how much memory its guest has left, which file has it, and where it stands still', async () => {
    const ID = 'site-4-2';
    await hypervisor.launch(here.spec(ID));
    await answersWith(await endpointOf(hypervisor, ID), '/.unideploy/revision', /^image-/);
    const told = async () => (await hypervisor.vitals(ID)).memory !== null;
    await eventually('the guest tells of its memory', told, 20_000);
    const { memory } = await hypervisor.vitals(ID);
    expect(memory?.available).toBeGreaterThan(10 * MIB);
    expect(memory?.available).toBeLessThan(memory?.total ?? 0);
    expect(memory?.total).toBeLessThanOrEqual(MACHINE.memory * MIB);

    const old = join(here.state, 'dumps', 'old.elf');
    await mkdir(join(here.state, 'dumps'), { recursive: true });
    await writeFile(old, Buffer.alloc(MIB));
    const file = (await hypervisor.dump(ID, MACHINE.memory)) ?? '';
    expect(existsSync(old)).toBe(false);
    expect((await readFile(file)).subarray(1, 4).toString()).toBe('ELF');
    expect(await hypervisor.dump(ID, MACHINE.memory - 1)).toBeNull();
    expect(await see(hypervisor, ID)).toMatchObject({ state: 'running', runState: 'running' });

    await hypervisor.freeze(ID);
    await hypervisor.freeze(ID);
    expect(await see(hypervisor, ID)).toMatchObject({ state: 'frozen' });
    await hypervisor.close();
    hypervisor = here.hypervisor();
    expect(await see(hypervisor, ID)).toMatchObject({ state: 'frozen' });
    const began = Date.now();
    await hypervisor.stop(ID, 20_000);
    expect(Date.now() - began).toBeLessThan(5_000);
    await hypervisor.remove(ID);
    expect(await hypervisor.list()).not.toContainEqual(expect.objectContaining({ state: 'frozen' }));
  });
});
