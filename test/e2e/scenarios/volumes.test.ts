import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { spoil } from '../../support/cli/artifacts.ts';
import { following } from '../../support/cli/following.ts';
import { misbehave } from '../../support/cli/misbehave.ts';
import { refusal } from '../../support/cli/refusal.ts';
import { prepare } from '../../support/cli/revisions.ts';
import { did, entry, type Story, serves, story } from '../../support/cli/story.ts';
import { takeDown } from '../../support/cli/take-down.ts';
import { underLoad } from '../../support/cli/under-load.ts';
import { openWorkplace, type Workplace } from '../../support/cli/workplace.ts';

let place: Workplace;
/** Process ids: a new volume is no reason to launch or end one. */
let guests: Record<string, number>;
const REPLICAS = 3;

beforeAll(async () => {
  place = await openWorkplace();
  await code('v1');
  expect(await place.cli(['up'])).toMatchObject({ exitCode: 0, stderr: '' });
  guests = await place.guestPids();
});

afterAll(() => takeDown(place));

const code = (name: string, rollout = {}, fault?: string) =>
  prepare(place, name, { replicas: REPLICAS, rollout, ...(fault === undefined ? {} : { fault }) });

const BLUE_GREEN = { strategy: 'blue-green' };
const CANARY = { strategy: 'canary', canary: { steps: [{ weight: '30%', pause: 'manual' }] } };

const serving = async () => (await place.status()).goal.revision ?? 0;
const paused = (revision: number) =>
  ({ result: 'paused', exitCode: 6, revision, code: 'UD_PAUSED', state: 'open' }) as const;
const aborted = (revision: number) => ({ result: 'aborted', exitCode: 0, revision, code: null }) as const;
const succeeded = (revision: number) => ({ result: 'succeeded', exitCode: 0, revision, code: null }) as const;

/** How many guests have the volume of a revision, and how many of these get requests. */
async function having(revision: number | null): Promise<{ guests: number; serving: number }> {
  const { instances } = await place.status();
  const its = instances.filter((each) => each.revision === revision);
  return { guests: its.length, serving: its.filter(({ weight }) => weight > 0).length };
}

async function sameGuests(revision: number): Promise<void> {
  await serves(place, revision, REPLICAS);
  expect(await place.guestPids()).toEqual(guests);
}

describe('a canary of a code volume', () => {
  it('is on a part of the guests with that share, and on all when it is promoted, and no request fails', async () => {
    await code('v2', CANARY);
    const [, ledger] = await underLoad(place, async () => {
      const { rollout } = await story(place, await place.cli(['rollout', '--json']), paused(1));
      expect(await having(rollout.to.revision)).toEqual({ guests: 1, serving: 1 });
      expect(await having(1)).toEqual({ guests: 2, serving: 2 });
      const told = await story(place, await place.cli(['promote', '--json']), succeeded(2));
      expect(new Set(did(told, 'swapVolume'))).toEqual(new Set(Object.keys(guests)));
    });
    expect(Object.keys(ledger.revisions)).toEqual(['v1', 'v2']);
    await sameGuests(2);
  });

  it('goes from the one guest that is not healthy with it, which serves the old one again', async () => {
    await code('sick', CANARY, 'never-healthy');
    const [outcome, ledger] = await underLoad(place, () => place.cli(['rollout', '--json']));
    const ending = { result: 'rolled-back', exitCode: 3, revision: 2, code: 'UD_VOLUME_UNVERIFIED' } as const;
    const told = await story(place, outcome, ending);
    expect(did(told, 'swapVolume')).toHaveLength(1);
    const { reason, evidence } = entry(told, 'rollback-started');
    expect(reason.message).toContain('503 unhealthy');
    expect(evidence?.answers.join()).toContain('503 unhealthy');
    expect(Object.keys(ledger.revisions)).toEqual(['v2']);
    await sameGuests(2);
  });
});

describe('blue and green of a code volume', () => {
  it('part the guests: green is only looked at until it is promoted, and then has every request', async () => {
    const from = await serving();
    await code('v3', { ...BLUE_GREEN, promotion: 'manual' });
    const [gate, before] = await underLoad(place, async () =>
      story(place, await place.cli(['rollout', '--json']), paused(from)),
    );
    const to = gate.rollout.to.revision ?? 0;
    expect(Object.keys(before.revisions)).toEqual(['v2']);
    expect(await having(to)).toEqual({ guests: 2, serving: 0 });
    const [told] = await underLoad(place, async () =>
      story(place, await place.cli(['promote', '--json']), succeeded(to)),
    );
    expect(shifts(told)).toBe(1);
    await sameGuests(to);
  });

  it('switch back when green becomes unhealthy in the bake time', async () => {
    const from = await serving();
    await code('weak', { ...BLUE_GREEN, bake: '30s' }, 'unhealthy-after:2000');
    const [outcome, ledger] = await underLoad(place, () => place.cli(['rollout', '--json']));
    const ending = {
      result: 'rolled-back',
      exitCode: 3,
      revision: from,
      code: 'UD_GUEST_UNHEALTHY',
    } as const;
    const told = await story(place, outcome, ending);
    expect(told.journal).toContainEqual(expect.objectContaining({ event: 'gate-reached', gate: 'bake' }));
    expect(entry(told, 'rollback-started').reason.message).toContain('became unhealthy');
    expect(Object.keys(ledger.revisions)).toEqual(['v3', 'weak']);
    // a guest that is unhealthy is replaced: that it would be healthy with the old volume is not certain
    await serves(place, from, REPLICAS);
    guests = await place.guestPids();
  });

  it.each(['promotion', 'bake'])('are as before when the rollout is aborted at the gate %s', async (at) => {
    const from = await serving();
    const waits = at === 'bake' ? { bake: '1m' } : { promotion: '1m' };
    await code(`aborted-${at}`, { ...BLUE_GREEN, ...waits });
    const [, ledger] = await underLoad(place, async (sees) => {
      const rollout = following(place, ['rollout']);
      await rollout.hears('gate-reached', ({ gate }) => gate === at);
      if (at === 'bake') await sees('aborted-bake');
      await story(place, await place.cli(['abort', '--json']), aborted(from));
      const ended = await rollout.outcome;
      await story(place, ended, { ...aborted(from), exitCode: 3, code: 'UD_ABORTED' });
    });
    expect(Object.keys(ledger.revisions)).toHaveLength(at === 'bake' ? 2 : 1);
    await sameGuests(from);
  });
});

describe('a rollback to a volume', () => {
  it('that is broken in the store is refused before anything is touched, until it is deployed again', async () => {
    const from = await serving();
    await spoil(place, 2, 'volume');
    const [outcome, ledger] = await underLoad(place, () => place.cli(['rollback', '--to', '2']));
    expect(refusal(outcome, 'UD_ARTIFACT_CORRUPT').next).toContain('deploy again');
    expect(Object.keys(ledger.revisions)).toEqual(['v3']);
    await sameGuests(from);
    expect(refusal(await place.cli(['rollback', '--to', '2']), 'UD_ARTIFACT_MISSING').next).toContain(
      'rollout',
    );

    await code('v2');
    const { last } = await place.cli(['rollout', '--json']);
    expect(last).toMatchObject({ result: 'succeeded' });
    await story(place, await place.cli(['rollback', '--to', String(from), '--json']), succeeded(from));
    await story(place, await place.cli(['rollback', '--to', '2', '--json']), succeeded(2));
    await sameGuests(2);
  });

  it('that no guest takes fails, is not rolled back in turn, and leaves every guest with what it has', async () => {
    const { instances } = await place.status();
    await Promise.all(instances.map(({ id }) => misbehave(place, id, 'ignore-volumes')));
    const [outcome, ledger] = await underLoad(place, () => place.cli(['rollback', '--to', '1', '--json']));
    const ending = { result: 'failed', exitCode: 4, revision: 2, code: 'UD_VOLUME_UNVERIFIED' } as const;
    const told = await story(place, outcome, ending);
    expect(told.journal.map(({ event }) => event)).not.toContain('rollback-started');
    expect(Object.keys(ledger.revisions)).toEqual(['v2']);
    await sameGuests(2);
  });
});

function shifts({ journal }: Story): number {
  return journal.filter((each) => each.event === 'action-started' && each.action.kind === 'shift').length;
}
