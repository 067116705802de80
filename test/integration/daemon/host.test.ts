import { readdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { execa } from 'execa';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { following } from '../../support/cli/following.ts';
import { end, isAlive } from '../../support/cli/processes.ts';
import { refusal } from '../../support/cli/refusal.ts';
import { prepare } from '../../support/cli/revisions.ts';
import { type SmallDisk, smallDisk, withReadOnly } from '../../support/cli/small-disk.ts';
import { type Outcome, openWorkplace, serving, type Workplace } from '../../support/cli/workplace.ts';
import type { Load } from '../../support/http/load.ts';
import { eventually } from '../../support/qemu/asking.ts';

const UNIDEPLOY = fileURLToPath(new URL('../../../bin/unideploy', import.meta.url));

/** One guest on a state whose disk is small, with a client that asks all the time: whatever the host lacks, it is answered. */
let place: Workplace;
let disk: SmallDisk;
let load: Load;

beforeAll(async () => {
  place = await openWorkplace();
  disk = await smallDisk(place.state, 96);
  await prepare(place, 'one', { replicas: 1 });
  expect(await place.cli(['up'])).toMatchObject({ exitCode: 0, stderr: '' });
  load = await place.load();
});

afterAll(async () => {
  const { failures } = await load.stop();
  await disk.free();
  const { exitCode } = await place.cli(['down']);
  const left = place.processes();
  await disk.unmount();
  await place.close();
  expect({ failures, exitCode, left }).toEqual({ failures: [], exitCode: 0, left: [] });
});

async function isServed(): Promise<void> {
  const before = load.ledger.ok;
  await eventually('clients are answered', () => load.ledger.ok > before + 10, 20_000);
}

const codeOf = ({ stderr }: Outcome) => /UD_[A-Z_]+/.exec(stderr)?.[0];

describe('a full disk', () => {
  it('refuses a rollout by its name, and takes it when there is room again', async () => {
    const before = await place.controllerPid();
    await prepare(place, 'two', { replicas: 1 });
    await disk.fill();
    const { next } = refusal(await place.cli(['rollout']), 'UD_DISK_FULL');
    expect(next).toContain('df');
    await isServed();
    expect(serving(await place.status())).toEqual(['site-1-1 1 verified']);
    await disk.free();
    expect(await place.cli(['rollout'])).toMatchObject({ exitCode: 0, stderr: '' });
    expect(await place.controllerPid()).toBe(before);
  });

  it('has a rollout under way stand still, which status says, and go on when there is room again', async () => {
    const before = await place.controllerPid();
    await prepare(place, 'three', { replicas: 1, rollout: { strategy: 'rolling', bake: '4s' } });
    const rollout = following(place, ['rollout']);
    await rollout.hears('gate-reached');
    await disk.fill();
    const says = async () => {
      const code = codeOf(await place.cli(['status']));
      return code === 'UD_DISK_FULL' || code === 'UD_DISK_FAILED';
    };
    await eventually('status says why', says, 30_000, 500);
    await isServed();
    await disk.free();
    expect(await rollout.outcome).toMatchObject({ exitCode: 0, stderr: '' });
    expect(await place.controllerPid()).toBe(before);
    await eventually(
      'nothing is in its way',
      async () => (await place.cli(['status'])).stderr === '',
      30_000,
      500,
    );
  });

  it('keeps no next controller from what is served', async () => {
    const pid = await place.controllerPid();
    end(pid, 'SIGKILL');
    await eventually('the controller has ended', () => !isAlive(pid));
    await disk.fill();
    // It starts where there is room for what SQLite needs, or says that there is none.
    const controller = place.start(['serve']);
    const said = async () => {
      const answers = await place.controllerPid().catch(() => null);
      return answers !== null || !isAlive(controller.pid);
    };
    await eventually('it answers, or has ended', said, 30_000);
    await isServed();
    const started = isAlive(controller.pid);
    end(controller.pid, 'SIGKILL');
    const outcome = await controller.outcome;
    if (!started) expect(['UD_DISK_FULL', 'UD_DISK_FAILED']).toContain(codeOf(outcome));
    await disk.free();
    await place.serve();
  });
});

describe('a read-only disk', () => {
  it('is what a controller says that cannot start on it; what serves goes on', async () => {
    const pid = await place.controllerPid();
    end(pid, 'SIGKILL');
    await eventually('the controller has ended', () => !isAlive(pid));
    const serve = [process.execPath, UNIDEPLOY, 'serve', '--state', place.state];
    const { exitCode, stderr } = await withReadOnly(place.state, serve, { GITHUB_ACTIONS: '' });
    expect({ exitCode, stderr }).toEqual({
      exitCode: 4,
      stderr: expect.stringContaining('UD_DISK_READ_ONLY'),
    });
    await isServed();
    await place.serve();
  });
});

describe('a controller that may open no more files', () => {
  it('says so or cannot be reached, lives, and goes on when it may', async () => {
    const pid = await place.controllerPid();
    const limit = (soft: number | string) => execa('prlimit', ['--pid', `${pid}`, `--nofile=${soft}:`]);
    const { stdout } = await execa('prlimit', [
      '--pid',
      `${pid}`,
      '--nofile',
      '--raw',
      '--noheadings',
      '-o',
      'SOFT',
    ]);
    await prepare(place, 'four', { replicas: 1 });
    // Numbers that were given back are given out again: the lowest of them is to be the last.
    const held = new Set(readdirSync(`/proc/${pid}/fd`));
    let lowest = 0;
    while (held.has(`${lowest}`)) lowest++;
    await limit(lowest + 1);
    try {
      const { exitCode, last } = await place.cli(['rollout', '--json']);
      // It may have been accepted, and has turned back then; or nobody heard of it.
      const ends = { 3: ['UD_FILES_EXHAUSTED'], 4: ['UD_FILES_EXHAUSTED', 'UD_CONTROLLER_LOST'] };
      expect(ends[exitCode as 3 | 4], JSON.stringify(last)).toContain(last.error?.code);
      await isServed();
    } finally {
      await limit(stdout.trim());
    }
    expect(await place.controllerPid()).toBe(pid);
    expect(await place.cli(['rollout'])).toMatchObject({ exitCode: 0, stderr: '' });
  });
});
