import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { instancesOf } from '../../../src/domain/action.ts';
import { following } from '../../support/cli/following.ts';
import { jsonRefusal } from '../../support/cli/refusal.ts';
import { prepare, type Wanted } from '../../support/cli/revisions.ts';
import { running } from '../../support/cli/running.ts';
import { did, entry, everything, recordsOf, type Story, serves, story } from '../../support/cli/story.ts';
import { takeDown } from '../../support/cli/take-down.ts';
import { underLoad } from '../../support/cli/under-load.ts';
import type { Workplace } from '../../support/cli/workplace.ts';

let place: Workplace;

beforeAll(async () => {
  place = await running('v1');
});

afterAll(() => takeDown(place));

/** Another image, of which half of the requests go to one new guest until somebody promotes it. */
const half = (image: string, rollout = {}): Wanted => ({
  boot: `test.image=${image}`,
  rollout: { strategy: 'canary', canary: { steps: [{ weight: '50%', pause: 'manual' }] }, ...rollout },
});

const PAUSED = { result: 'paused', exitCode: 6, revision: 1, code: 'UD_PAUSED', state: 'open' } as const;
const ABORTED = { result: 'aborted', exitCode: 0, revision: 1, code: null } as const;
const succeeded = (revision: number) => ({ result: 'succeeded', exitCode: 0, revision, code: null }) as const;

describe('abort', () => {
  it('of nothing is no error, and changes nothing', async () => {
    const before = await everything(place);
    const { exitCode, last } = await place.cli(['abort', '--json']);
    expect({ exitCode, last }).toMatchObject({
      exitCode: 0,
      last: { result: 'unchanged', exitCode: 0, revision: 1, rollout: null, error: null },
    });
    expect(await everything(place)).toEqual(before);
    jsonRefusal(await place.cli(['promote', '--json']), 'UD_NOTHING_OPEN');
  });

  it.each([
    ['while the first guest is launched', 'action-started'],
    ['at the gate of the canary', 'gate-reached'],
  ] as const)('%s takes the canary away, and no request fails', async (_when, moment) => {
    await prepare(place, 'v2', half('2'));
    const [told] = await underLoad(place, () => abortWhen(moment));
    expect(did(told, 'retire', 'rollback-started')).toEqual(did(told, 'launch'));
    await serves(place, 1);
  });

  it('in the bake time gives everything back to the old guests, which are warm, and no request fails', async () => {
    await prepare(place, 'v3', {
      boot: 'test.image=3',
      rollout: { strategy: 'canary', canary: { steps: [{ weight: '50%' }] }, bake: '1m' },
    });
    const [told, ledger] = await underLoad(place, (sees) =>
      abortWhen('gate-reached', () => sees('v3'), 'bake'),
    );
    expect(did(told, 'launch', 'rollback-started')).toEqual([]);
    expect(Object.keys(ledger.revisions)).toEqual(['v1', 'v3']);
    await serves(place, 1);
  });
});

type Happened = Story['journal'][number];

/** Begins a rollout, aborts it at a moment by another command, and sees that both tell the same. */
async function abortWhen(
  moment: 'action-started' | 'gate-reached',
  ready = async () => {},
  at?: string,
): Promise<Story> {
  const rollout = following(place, ['rollout', '--on-gate', 'wait']);
  await rollout.hears(moment, (it) => it.event !== 'gate-reached' || at === undefined || it.gate === at);
  await ready();
  const told = await story(place, await place.cli(['abort', '--json']), ABORTED);
  expect(entry(told, 'ordered')).toMatchObject({ how: 'abort', by: 'a test' });
  await story(place, await rollout.outcome, { ...ABORTED, exitCode: 3, code: 'UD_ABORTED' });
  return told;
}

describe('pause', () => {
  it('may last longer than any deadline: the rollout then goes on and succeeds', async () => {
    await prepare(place, 'v1b', {
      health: { deadline: '2s' },
      rollout: {
        strategy: 'canary',
        canary: { steps: [{ weight: '50%', pause: '1s' }] },
        drain: '1s',
        stop: '1s',
        verify: '1s',
        progressDeadline: '2500ms',
        deadline: '4s',
      },
    });
    const [, ledger] = await underLoad(place, async () => {
      const rollout = following(place, ['rollout']);
      await rollout.hears('gate-reached');
      const paused = await place.cli(['pause', '--json']);
      const stands = await story(place, paused, { ...PAUSED, exitCode: 0, code: null });
      await story(place, await rollout.outcome, PAUSED);
      expect(entry(stands, 'paused')).toMatchObject({ by: 'a test' });
      jsonRefusal(await place.cli(['promote', '--json']), 'UD_PROMOTE_REFUSED');

      const { at } = entry(stands, 'paused');
      await expect.poll(() => Date.now() - at, { timeout: 10_000 }).toBeGreaterThan(5000);
      expect((await place.status()).instances.filter(({ weight }) => weight > 0)).toHaveLength(2);
      const { to } = stands.rollout;
      const resumed = await story(place, await place.cli(['resume', '--json']), succeeded(to.revision ?? 0));
      expect(entry(resumed, 'rollout-finished').ms).toBeGreaterThan(5000);
      await serves(place, to.revision ?? 0);
    });
    expect(Object.keys(ledger.revisions)).toEqual(['v1', 'v1b']);
    expect(await place.cli(['rollback'])).toMatchObject({ exitCode: 0 });
  });
});

describe('a newer revision while one is half out', () => {
  it('is refused, and told by whom', async () => {
    await prepare(place, 'v4', half('4'));
    await story(place, await place.cli(['rollout', '--json'], { UNIDEPLOY_PERFORMER: 'Ada' }), PAUSED);
    await prepare(place, 'v5', half('5'));
    const { message, next } = jsonRefusal(await place.cli(['rollout', '--json']), 'UD_LOCKED');
    expect(message).toMatch(/^rollout \d+ of site, started by Ada, is still under way$/);
    expect(next).toContain('--supersede');
  });

  it('takes over: the newest wins, and those of the middle go when their traffic has', async () => {
    const middle = (await place.status()).open?.id ?? 0;
    const [[told, left], ledger] = await underLoad(place, async (sees) => {
      await sees('v4');
      const waiting = following(place, ['wait']);
      const newest = await place.cli(['rollout', '--supersede', '--json']);
      const taken = await story(place, newest, PAUSED);
      await story(place, await waiting.outcome, {
        result: 'superseded',
        exitCode: 4,
        revision: 1,
        code: 'UD_SUPERSEDED',
      });
      const { to } = taken.rollout;
      const done = await story(place, await place.cli(['promote', '--json']), succeeded(to.revision ?? 0));
      return [done, await recordsOf(place, middle)] as const;
    });
    expect(Object.keys(ledger.revisions).sort()).toEqual(['v1', 'v4', 'v5']);
    for (const instance of did(left, 'launch')) wentAfterItsTraffic(told, instance);
    await serves(place, told.rollout.to.revision ?? 0);
  });

  it('waits for its turn where it is told to', async () => {
    await prepare(place, 'v6', half('6'));
    const from = (await place.status()).goal.revision ?? 0;
    await underLoad(place, async () => {
      await story(place, await place.cli(['rollout', '--json']), { ...PAUSED, revision: from });
      await prepare(place, 'v7', { boot: 'test.image=5' });
      const next = place.start(['rollout', '--wait', '1m', '--json']);
      await expect.poll(() => next.said(), { timeout: 20_000 }).toContain('waiting for');
      await story(place, await place.cli(['abort', '--json']), { ...ABORTED, revision: from });
      const told = await story(place, await next.outcome, succeeded(from + 2));
      expect(entry(told, 'rollout-started')).toMatchObject({ from, to: from + 2 });
    });
    await serves(place, from + 2);
  });
});

/** Expects that an instance was given no requests any more, and had none, before it was taken away. */
function wentAfterItsTraffic({ journal }: Story, instance: string): void {
  const weightOf = (entry: Happened) => {
    if (entry.event !== 'action-finished' || !instancesOf(entry.action).includes(instance)) return undefined;
    if (entry.action.kind === 'drain') return 0;
    return entry.action.kind === 'shift' ? entry.action.weights[instance] : undefined;
  };
  const quiet = journal.findLastIndex((entry) => weightOf(entry) === 0);
  const retired = journal.findIndex(
    (entry) =>
      entry.event === 'action-started' &&
      entry.action.kind === 'retire' &&
      entry.action.instance === instance,
  );
  expect(quiet).toBeGreaterThanOrEqual(0);
  expect(retired).toBeGreaterThan(quiet);
}
