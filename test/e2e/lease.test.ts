import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { LEASE } from '../../src/domain/lease.ts';
import { embeddedDataPlane } from '../../src/proxy/embedded/client.ts';
import { end, isAlive } from '../support/cli/processes.ts';
import { everything } from '../support/cli/story.ts';
import { takeDown } from '../support/cli/take-down.ts';
import { underLoad } from '../support/cli/under-load.ts';
import { openWorkplace, type Running, serving, type Workplace } from '../support/cli/workplace.ts';
import { eventually } from '../support/qemu/asking.ts';

let place: Workplace;
let controller: Running;
/** of the image that runs */
let guest = {};

beforeAll(async () => {
  place = await openWorkplace();
  controller = await place.serve();
  expect(await place.cli(['up'])).toMatchObject({ exitCode: 0, stderr: '' });
});

afterAll(() => takeDown(place));

/** All that a controller changes, as it is now. */
async function world() {
  const tables = await embeddedDataPlane({ state: place.state }).status();
  const { stdout: journal } = await place.cli(['audit', '--json']);
  const sockets = readdirSync(place.state).filter((name) => name.includes('.sock'));
  const shapes = tables.map(({ version, routes }) => ({
    version,
    routes: routes.map(({ instance, weight }) => ({ instance, weight })),
  }));
  return { kept: await everything(place), shapes, journal, sockets };
}

/** Resolves when the clock has come so far since then. */
async function elapsed(since: number, ms: number): Promise<void> {
  await eventually(`${ms} ms are over`, () => performance.now() - since >= ms, ms + 10_000, 100);
}

describe('a controller that is stopped in the middle of a rollout', () => {
  it.each([
    ['when a new guest has been launched, for a minute', 'launched ', 60_000, true],
    ['when a guest has taken its new volume, until the rollout is over', 'swapped the volume of ', 0, false],
  ])('loses its place and is refused when it wakes: %s', async (_name, moment, stopped, boots) => {
    const revision = ((await place.status()).goal.revision ?? 0) + 1;
    if (boots) guest = { cmdline: `test.round=${revision}` };
    else await place.publish(`<h1>revision ${revision}</h1>\n`);
    await place.configure({ guest, rollout: { parallel: 1 } });
    const late = controller;
    onTestFinished(() => end(late.pid, 'SIGKILL'));
    await underLoad(place, async () => {
      const rollout = place.start(['rollout']);
      await eventually('the moment has come', () => rollout.said().includes(moment), 60_000, 1);
      end(late.pid, 'SIGSTOP');
      const since = performance.now();
      // Then its silence is a sign, and the newcomer waits for the end of the lease.
      await elapsed(since, 2 * LEASE.renewEvery);

      controller = await place.serve();
      const outcome = await rollout.outcome;
      expect(outcome).toMatchObject({ exitCode: 0, stderr: '' });
      expect(outcome.stdout).toContain(`taken over by controller ${controller.pid}`);
      await elapsed(since, stopped);
      expect(isAlive(late.pid)).toBe(true);
      const before = await world();

      end(late.pid, 'SIGCONT');
      expect(await late.outcome).toMatchObject({
        exitCode: 5,
        stderr: expect.stringMatching(/^unideploy: UD_FENCED: .* Next: /m),
      });
      expect(await world()).toEqual(before);
    });
    expect(await place.controllerPid()).toBe(controller.pid);
    expect(serving(await place.status()).map((each) => each.replace(/^\S+ /, ''))).toEqual(
      Array(2).fill(`${revision} verified`),
    );
    const machines = place.processes().filter(({ words }) => words[0]?.includes('qemu-system'));
    expect(machines.map(({ pid }) => pid).sort()).toEqual(Object.values(await place.guestPids()).sort());
  });

  it('keeps nobody from ordering: up starts another one in its place', async () => {
    const late = controller;
    onTestFinished(() => end(late.pid, 'SIGKILL'));
    end(late.pid, 'SIGSTOP');
    await elapsed(performance.now(), LEASE.duration);
    expect((await place.cli(['doctor'])).stdout).toContain('silent for too long');
    expect(await place.cli(['up'])).toMatchObject({ exitCode: 0, stderr: '' });
    expect(await place.controllerPid()).not.toBe(late.pid);
    end(late.pid, 'SIGCONT');
    expect(await late.outcome).toMatchObject({ exitCode: 5 });
  });
});

describe('a controller that drives HAProxy', () => {
  it('is refused as well when it wakes, and no request fails', async () => {
    const other = await openWorkplace();
    onTestFinished(() => takeDown(other));
    const late = other.start(['serve', '--proxy', 'haproxy']);
    onTestFinished(() => end(late.pid, 'SIGKILL'));
    const answers = async () => (await other.controllerPid().catch(() => 0)) === late.pid;
    await eventually('the controller answers', answers, 30_000);
    expect(await other.cli(['up'])).toMatchObject({ exitCode: 0, stderr: '' });
    await other.configure({ rollout: { parallel: 1 } });
    await other.publish('<h1>two</h1>\n');
    await underLoad(other, async () => {
      const rollout = other.start(['rollout']);
      await eventually('it is under way', () => rollout.said().includes('swapped the volume of '), 60_000, 1);
      end(late.pid, 'SIGSTOP');
      await elapsed(performance.now(), 2 * LEASE.renewEvery);
      await other.serve();
      expect(await rollout.outcome).toMatchObject({ exitCode: 0, stderr: '' });
      const before = await everything(other);
      end(late.pid, 'SIGCONT');
      expect(await late.outcome).toMatchObject({ exitCode: 5, stderr: expect.stringContaining('UD_FENCED') });
      expect(await everything(other)).toEqual(before);
    });
    expect(serving(await other.status())).toEqual(['site-1-1 2 verified', 'site-1-2 2 verified']);
  });
});

describe('controllers that start at the same moment', () => {
  it('have one among them that holds, and the others say so', async () => {
    const other = await openWorkplace();
    onTestFinished(() => other.close());
    const rivals = Array.from({ length: 3 }, () => other.start(['serve', '--state', other.state]));
    const ended: { exitCode: number | undefined; stderr: string }[] = [];
    for (const { outcome } of rivals) void outcome.then((each) => ended.push(each));
    await eventually('two have ended', () => ended.length === 2, 60_000);
    for (const each of ended)
      expect(each).toMatchObject({ exitCode: 5, stderr: expect.stringContaining('UD_CONTROLLER_RUNNING') });
    const holders = rivals.map(({ pid }) => pid).filter(isAlive);
    expect(holders).toHaveLength(1);
    const answers = async () => (await other.controllerPid().catch(() => 0)) === holders[0];
    await eventually('the holder answers', answers, 30_000);
    expect(readdirSync(join(other.state, 'lease'))).toHaveLength(1);
  });
});
