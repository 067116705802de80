import { copyFile, rename, stat, truncate } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { InstanceSpec } from '../../../src/hypervisor/port.ts';
import { commandLine, type LaunchFacts } from '../../../src/hypervisor/qemu/command-line.ts';
import { limitsOf } from '../../../src/hypervisor/qemu/limits.ts';
import { Machine } from '../../../src/hypervisor/qemu/machine.ts';
import { startProcess, stopProcess } from '../../../src/hypervisor/qemu/process.ts';
import { resumeGuest } from '../../../src/hypervisor/qemu/qmp/commands.ts';
import { lend } from '../../../src/hypervisor/qemu/reach.ts';
import { createRunDirectory, runDirectory } from '../../../src/hypervisor/qemu/run-directory.ts';
import { WRITTEN } from '../../../src/hypervisor/qemu/run-files.ts';
import { loadState, saveState } from '../../../src/hypervisor/qemu/saved-state.ts';
import { answersWith } from '../../support/qemu/asking.ts';
import { type World, world } from '../../support/qemu/world.ts';

const DEADLINE = 20_000;
const started: Machine[] = [];
let here: World;

beforeAll(async () => {
  here = await world();
});
afterAll(async () => {
  for (const machine of started) await quit(machine);
  await here.end();
});

async function start(
  spec: InstanceSpec,
  how: Pick<LaunchFacts, 'ram' | 'incoming'>,
  before: (machine: Machine) => Promise<void> = async () => {},
): Promise<Machine> {
  const directory = runDirectory(here.state, spec.id);
  const machine = new Machine(
    spec,
    directory,
    () => {},
    () => {},
  );
  started.push(machine);
  await createRunDirectory(directory, spec);
  const { image } = spec;
  if (image.kind === 'kernel' && image.initrd !== null)
    for (const digest of [image.kernel, image.initrd])
      await lend(directory, digest, here.artifactPath(digest));
  await before(machine);
  const words = commandLine(spec, { directory, accel: 'tcg', volumes: [], ...how });
  const bounds = { user: null, limits: limitsOf(spec.machine, null) };
  await machine.starting(startProcess(['qemu-system-x86_64', ...words], directory, bounds), DEADLINE);
  return machine;
}

async function quit(machine: Machine): Promise<void> {
  machine.release();
  await stopProcess(machine.directory, null, { graceMs: 0, expectCommand: () => {} });
}

async function answers(machine: Machine, deadlineMs?: number): Promise<void> {
  const { endpoint } = await machine.observe();
  if (endpoint === null) throw new Error('no endpoint');
  await answersWith(endpoint, '/.unideploy/revision', /^image-/, deadlineMs);
}

describe.each([
  { ramInFile: false, most: 200e6 },
  { ramInFile: true, most: 2e6 },
])('a state saved with ramInFile $ramInFile', ({ ramInFile, most }) => {
  const state = () => join(here.state, `saved-${ramInFile}`);
  const options = { ramInFile, deadlineMs: DEADLINE };
  const ram = (share: boolean) => (ramInFile ? { ram: { path: WRITTEN.ram, share } } : {});

  test('is loaded by another QEMU, whose guest answers at once', async () => {
    const first = await start(here.spec(`saved-${ramInFile}-1`), ram(true));
    await answers(first);
    let told = 0;
    const progress = (bytes: number) => {
      told = bytes;
    };
    await saveState(first, null, state(), { ...options, progress });
    expect(await first.observe()).toMatchObject({ runState: 'postmigrate' });
    const { size } = await stat(state());
    expect(told).toBe(size);
    expect(size).toBeLessThan(most);
    await resumeGuest(await first.connect());
    await answers(first, 2_000);
    await saveState(first, null, state(), options);
    await quit(first);

    const second = await start(
      here.spec(`saved-${ramInFile}-2`),
      { ...ram(false), incoming: true },
      async (machine) => {
        if (ramInFile) await copyFile(first.directory.ram, machine.directory.ram);
      },
    );
    expect(await second.observe()).toMatchObject({ runState: 'inmigrate' });
    await loadState(second, state(), options);
    await resumeGuest(await second.connect());
    expect(await second.observe()).toMatchObject({ runState: 'running' });
    await answers(second, 5_000);
  });

  test('is refused when it is not whole, in the words of QEMU', async () => {
    await truncate(state(), Math.floor((await stat(state())).size * 0.75));
    const id = `saved-${ramInFile}-3`;
    const machine = await start(here.spec(id), { ...ram(false), incoming: true }, async ({ directory }) => {
      if (ramInFile) await rename(runDirectory(here.state, `saved-${ramInFile}-2`).ram, directory.ram);
    });
    await expect(loadState(machine, state(), options)).rejects.toMatchObject({
      code: 'UD_SAVED_STATE',
      message: expect.stringContaining('load of migration failed'),
    });
  });
});

test('a saving that is given up leaves a guest that goes on, and no file', async () => {
  const machine = await start(here.spec('saved-4'), {});
  await answers(machine);
  const enough = new AbortController();
  const file = join(here.state, 'given-up');
  const saving = saveState(machine, null, file, {
    ...{ ramInFile: false, deadlineMs: DEADLINE, signal: enough.signal },
    progress: () => enough.abort(),
  });
  await expect(saving).rejects.toMatchObject({ code: 'UD_SAVED_STATE' });
  await expect(stat(file)).rejects.toMatchObject({ code: 'ENOENT' });
  await resumeGuest(await machine.connect());
  await answers(machine, 2_000);
});
