import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { instancesOf } from '../../../src/domain/action.ts';
import { type Following, following } from '../../support/cli/following.ts';
import { freeze, misbehave } from '../../support/cli/misbehave.ts';
import { end } from '../../support/cli/processes.ts';
import { refusal } from '../../support/cli/refusal.ts';
import { prepare } from '../../support/cli/revisions.ts';
import { running } from '../../support/cli/running.ts';
import { did, entry, serves, story } from '../../support/cli/story.ts';
import { takeDown } from '../../support/cli/take-down.ts';
import { underLoad } from '../../support/cli/under-load.ts';
import type { Workplace } from '../../support/cli/workplace.ts';

let place: Workplace;

beforeAll(async () => {
  place = await running('v1');
});

afterAll(() => takeDown(place));

const ROLLED_BACK = { result: 'rolled-back', exitCode: 3, revision: 1 } as const;

/** In the order of one service's life; none of these revisions is to see a client. */
describe('a new revision that is not healthy', () => {
  it('goes when none of its instances ever is, with what they have answered', async () => {
    await prepare(place, 'dead', {
      boot: 'ud.fault=never-healthy',
      health: { deadline: '6s' },
      rollout: { strategy: 'rolling' },
    });
    const [outcome, ledger] = await underLoad(place, () => place.cli(['rollout', '--json']));
    const told = await story(place, outcome, { ...ROLLED_BACK, code: 'UD_GUEST_UNHEALTHY' });
    expect(Object.keys(ledger.revisions)).toEqual(['v1']);
    const [launched] = did(told, 'launch');
    expect(did(told, 'launch')).toHaveLength(1);
    expect(did(told, 'admit')).toEqual([]);
    expect(did(told, 'retire')).toEqual([launched]);
    expect(entry(told, 'rollback-started').evidence).toMatchObject({
      instance: launched,
      lastAnswer: expect.stringContaining('503'),
      console: expect.arrayContaining([expect.stringContaining('fault never-healthy')]),
    });
    await serves(place, 1);
  });

  it('goes when one of its instances hangs, though all others are healthy', async () => {
    await prepare(place, 'half', {
      boot: 'test.image=half',
      health: { healthy: 8, deadline: '10s' },
      rollout: { strategy: 'blue-green' },
    });
    let frozen = '';
    const [outcome, ledger] = await underLoad(place, async () => {
      const rollout = following(place, ['rollout']);
      frozen = await launched(rollout);
      await freeze(place, frozen);
      return await rollout.outcome;
    });
    const told = await story(place, outcome, { ...ROLLED_BACK, code: 'UD_GUEST_UNHEALTHY' });
    expect(Object.keys(ledger.revisions)).toEqual(['v1']);
    expect(did(told, 'admit')).toHaveLength(1);
    expect(entry(told, 'rollback-started').evidence?.instance).toBe(frozen);
    await serves(place, 1);
  });

  it('is never let in while it flaps', async () => {
    await prepare(place, 'flapping', {
      boot: 'test.image=flapping',
      health: { timeout: '200ms', unhealthy: 2, deadline: '12s' },
      rollout: { strategy: 'rolling', minHealthy: '2s' },
    });
    const [outcome, ledger] = await underLoad(place, async () => {
      const rollout = following(place, ['rollout']);
      const flapping = flap(await freeze(place, await launched(rollout)));
      await rollout.hears('rollback-started');
      await flapping.stop();
      return await rollout.outcome;
    });
    const told = await story(place, outcome, { ...ROLLED_BACK, code: 'UD_GUEST_UNHEALTHY' });
    expect(Object.keys(ledger.revisions)).toEqual(['v1']);
    expect(did(told, 'admit')).toEqual([]);
    await serves(place, 1);
  });

  it('cannot be promoted, and who tries is told how many are not, and which', async () => {
    await prepare(place, 'waiting', {
      boot: 'test.image=waiting',
      health: { deadline: '60s' },
      rollout: { strategy: 'blue-green', promotion: 'manual' },
    });
    const [, ledger] = await underLoad(place, async () => {
      const stopped = await story(place, await place.cli(['rollout', '--json']), {
        result: 'paused',
        exitCode: 6,
        revision: 1,
        code: 'UD_PAUSED',
        state: 'open',
      });
      const [sick = ''] = did(stopped, 'launch');
      await misbehave(place, sick, 'never-healthy');
      await expect
        .poll(async () => (await place.status()).instances.find(({ id }) => id === sick)?.health)
        .toBe('unhealthy');
      const { message, next } = refusal(await place.cli(['promote']), 'UD_PROMOTE_REFUSED');
      expect(message).toMatch(
        `1 of 2 instances of revision ${stopped.rollout.to.revision} not healthy (${sick}: 503`,
      );
      expect(next).toContain('unideploy abort');
      const refused = await place.cli(['promote', '--full', '--json']);
      expect(refused).toMatchObject({ exitCode: 4, last: { result: 'refused', exitCode: 4 } });
      expect((await place.status()).open?.state).toBe('open');

      const aborted = await place.cli(['abort', '--json']);
      await story(place, aborted, { result: 'aborted', exitCode: 0, revision: 1, code: null });
    });
    expect(Object.keys(ledger.revisions)).toEqual(['v1']);
    await serves(place, 1);
  });
});

/** The first instance whose guest runs; it boots still. */
async function launched(rollout: Following): Promise<string> {
  const { action } = await rollout.hears('action-finished', (it) => it.action.kind === 'launch');
  return instancesOf(action)[0] ?? '';
}

/** Has a guest hang for a moment again and again, until it is stopped or the guest has gone. */
function flap(pid: number): { stop: () => Promise<void> } {
  let going = true;
  const beat = () => new Promise((resolve) => setTimeout(resolve, 700));
  const loop = async () => {
    while (going) {
      end(pid, 'SIGCONT');
      await beat();
      end(pid, 'SIGSTOP');
      await beat();
    }
    end(pid, 'SIGCONT');
  };
  const ended = loop();
  return {
    async stop() {
      going = false;
      await ended;
    },
  };
}
