import { appendFile, copyFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { spoil } from '../../support/cli/artifacts.ts';
import { following } from '../../support/cli/following.ts';
import { referenceGuest } from '../../support/cli/guest.ts';
import { misbehave } from '../../support/cli/misbehave.ts';
import { end } from '../../support/cli/processes.ts';
import { refusal } from '../../support/cli/refusal.ts';
import { prepare } from '../../support/cli/revisions.ts';
import { running } from '../../support/cli/running.ts';
import { did, entry, everything, historyOf, serves, story } from '../../support/cli/story.ts';
import { takeDown } from '../../support/cli/take-down.ts';
import { underLoad } from '../../support/cli/under-load.ts';
import type { Workplace } from '../../support/cli/workplace.ts';

let place: Workplace;

beforeAll(async () => {
  place = await running('v1');
});

afterAll(() => takeDown(place));

const succeeded = (revision: number) => ({ result: 'succeeded', exitCode: 0, revision, code: null }) as const;

/** An image of its own: the same guest, in a file of which the last bytes differ. */
async function anotherInitrd(name: string): Promise<string> {
  const { initrd } = await referenceGuest();
  await copyFile(initrd, join(place.project, name));
  await appendFile(join(place.project, name), Buffer.alloc(512));
  return name;
}

/** Stops the process of a guest that boots, once its monitor has answered. */
async function freezeBooting(instance: string): Promise<number> {
  const boots = async () =>
    (await place.status()).instances.find(({ id }) => id === instance)?.runState === 'running';
  await expect.poll(boots, { timeout: 20_000 }).toBe(true);
  const pid = (await place.guestPids())[instance] ?? 0;
  end(pid, 'SIGSTOP');
  return pid;
}

/** In the order of one service's life. */
describe('blue and green', () => {
  it('switch back when green dies in the bake time: blue is warm, and nobody waits for a boot', async () => {
    await prepare(place, 'v2', { boot: 'test.image=2', rollout: { strategy: 'blue-green', bake: '20s' } });
    const [outcome, ledger] = await underLoad(place, async (sees) => {
      const rollout = following(place, ['rollout']);
      await rollout.hears('gate-reached', ({ gate }) => gate === 'bake');
      await sees('v2');
      await misbehave(place, 'site-2-1', 'dies-after:500');
      return await rollout.outcome;
    });
    const told = await story(place, outcome, {
      result: 'rolled-back',
      exitCode: 3,
      revision: 1,
      code: 'UD_GUEST_UNHEALTHY',
    });
    expect(Object.keys(ledger.revisions)).toEqual(['v1', 'v2']);
    const turned = entry(told, 'rollback-started');
    expect(turned).toMatchObject({
      reason: { message: expect.stringContaining('site-2-1 stopped by itself') },
    });
    expect(did(told, 'launch', 'rollback-started')).toEqual([]);
    const back = told.journal.find(
      ({ at, event, ...it }) =>
        at >= turned.at && event === 'action-finished' && 'action' in it && it.action.kind === 'shift',
    );
    expect((back?.at ?? Infinity) - turned.at).toBeLessThan(1000);
    await serves(place, 1);
  });

  it('change places again within the warm time, and no guest is launched', async () => {
    await prepare(place, 'v3', { boot: 'test.image=3', rollout: { strategy: 'blue-green', warm: '5m' } });
    const [, ledger] = await underLoad(place, async () => {
      await story(place, await place.cli(['rollout', '--json']), succeeded(3));
      expect((await place.status()).warm).toMatchObject({ revision: 1 });
      await serves(place, 3, 2, [1, 1]);

      const back = await story(place, await place.cli(['rollback', '--json']), succeeded(1));
      expect(did(back, 'launch')).toEqual([]);
      expect(entry(back, 'rollout-finished').ms).toBeLessThan(2000);
      await serves(place, 1, 2, [3, 3]);

      const again = await story(place, await place.cli(['rollback', '--to', '3', '--json']), succeeded(3));
      expect(did(again, 'launch')).toEqual([]);
      await serves(place, 3, 2, [1, 1]);
      await story(place, await place.cli(['rollback', '--json']), succeeded(1));
    });
    expect(Object.keys(ledger.revisions).sort()).toEqual(['v1', 'v3']);
  });

  it('stay as they are when there is nothing to go back to', async () => {
    const before = await everything(place);
    const { next } = refusal(await place.cli(['rollback']), 'UD_UNKNOWN_REVISION');
    expect(next).toContain('unideploy history');
    const { last } = await place.cli(['rollback', '--json']);
    expect(last).toMatchObject({ result: 'refused', exitCode: 2, rollout: null });
    expect(await everything(place)).toEqual(before);
  });

  it('fail to go back when the warm time is over and no new guest answers: once, and a person is needed', async () => {
    const initrd = await anotherInitrd('initrd-4.img');
    const rollout = { strategy: 'blue-green', warm: '1s' };
    await prepare(place, 'v4', { boot: 'test.image=4', initrd, rollout });
    await underLoad(place, async () => {
      await story(place, await place.cli(['rollout', '--json']), succeeded(4));
      await expect.poll(async () => (await place.status()).warm, { timeout: 10_000 }).toBeNull();
    });
    await serves(place, 4);

    // not 3, which was itself taken back
    const undo = await spoil(place, 1, 'initrd');
    const { next } = refusal(await place.cli(['rollback']), 'UD_ARTIFACT_CORRUPT');
    expect(next).toContain('deploy again');
    await serves(place, 4);
    await undo();

    const { rollouts } = await historyOf(place);
    const launched = [1, 2].map((ordinal) => `site-${(rollouts[0]?.id ?? 0) + 1}-${ordinal}`);
    const stopped = Promise.all(launched.map((instance) => freezeBooting(instance)));
    const [outcome, ledger] = await underLoad(place, () => place.cli(['rollback', '--json']));
    const told = await story(place, outcome, {
      result: 'failed',
      exitCode: 4,
      revision: 4,
      code: 'UD_GUEST_UNHEALTHY',
    });
    expect(told.journal.map(({ event }) => event)).not.toContain('rollback-started');
    expect(did(told, 'launch')).toHaveLength(2);
    expect(did(told, 'admit')).toEqual([]);
    expect(Object.keys(ledger.revisions)).toEqual(['v4']);
    expect((await place.status()).open).toBeNull();
    for (const pid of await stopped) end(pid, 'SIGKILL');
  });

  it('go back by new guests of the old image when these answer', async () => {
    const [outcome, ledger] = await underLoad(place, () => place.cli(['retry', '--json']));
    const told = await story(place, outcome, succeeded(1));
    expect(told.rollout.kind).toBe('rollback');
    expect(did(told, 'launch')).toHaveLength(2);
    expect(Object.keys(ledger.revisions)).toEqual(['v4', 'v1']);
    await expect.poll(async () => (await place.status()).warm, { timeout: 10_000 }).toBeNull();
    await serves(place, 1);
  });
});
