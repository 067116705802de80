import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Plan } from '../../../src/daemon/messages.ts';
import { following } from '../../support/cli/following.ts';
import { isAlive } from '../../support/cli/processes.ts';
import { jsonRefusal, refusal } from '../../support/cli/refusal.ts';
import { prepare, type Wanted } from '../../support/cli/revisions.ts';
import { did, entry, everything, recordsOf, serves, story } from '../../support/cli/story.ts';
import { takeDown } from '../../support/cli/take-down.ts';
import { underLoad } from '../../support/cli/under-load.ts';
import { openWorkplace, type Workplace } from '../../support/cli/workplace.ts';
import { eventually } from '../../support/qemu/asking.ts';

let place: Workplace;

beforeAll(async () => {
  place = await openWorkplace();
});

afterAll(() => takeDown(place));

/** A canary of the code, half out for so long. */
const half = (pause = '2s'): Wanted => ({
  rollout: { strategy: 'canary', canary: { steps: [{ weight: '50%', pause }] } },
});

const serving = async () => (await place.status()).goal.revision ?? 0;
const succeeded = (revision: number) => ({ result: 'succeeded', exitCode: 0, revision, code: null }) as const;

describe('a first rollout', () => {
  it('that fails has nothing to go back to, and leaves nothing running', async () => {
    await prepare(place, 'v0', { boot: 'ud.fault=never-healthy', health: { deadline: '5s' } });
    const { exitCode, stderr, last } = await place.cli(['up', '--json']);
    expect({ exitCode, stderr, last }).toMatchObject({
      exitCode: 4,
      stderr: '',
      last: { result: 'failed', exitCode: 4, revision: null, error: { code: 'UD_GUEST_UNHEALTHY' } },
    });
    expect(place.processes()).toEqual([]);
    refusal(await place.cli(['status']), 'UD_CONTROLLER_NOT_RUNNING');
  });

  it('may be tried again', async () => {
    await prepare(place, 'v1');
    const outcome = await place.cli(['up', '--json']);
    await story(place, outcome, succeeded(outcome.last.revision ?? 0));
    await serves(place, outcome.last.revision ?? 0);
    const { rollout, journal } = await recordsOf(place, 1);
    expect(rollout).toMatchObject({ state: 'failed', from: { revision: null } });
    expect(journal.at(-1)).toMatchObject({ event: 'rollout-finished', verdict: 'failed' });
  });
});

describe('plan and rollout', () => {
  it('say by their exit codes whether there is anything to do', async () => {
    expect(await place.cli(['plan', '--exit-code'])).toMatchObject({ exitCode: 0 });
    const same = await place.cli(['rollout', '--json']);
    expect(same).toMatchObject({ exitCode: 0, last: { result: 'unchanged', exitCode: 0, rollout: null } });

    const before = await everything(place);
    await prepare(place, 'v2');
    const { exitCode, stdout } = await place.cli(['plan', '--exit-code', '--json']);
    expect(exitCode).toBe(8);
    expect(JSON.parse(stdout) as Plan).toMatchObject({ strategy: 'volume-swap' });
    expect(await place.cli(['plan'])).toMatchObject({ exitCode: 0 });
    expect(await everything(place)).toEqual(before);
  });

  it('refuse to replace another revision than the one that was expected', async () => {
    const from = await serving();
    const before = await everything(place);
    const refused = await place.cli(['rollout', '--expect-revision', `${from + 7}`, '--json']);
    const { message } = jsonRefusal(refused, 'UD_REVISION_CHANGED');
    expect(message).toContain(
      `site serves revision ${from}, deployed by a test, expected revision ${from + 7}`,
    );
    expect(refused.last).toMatchObject({ result: 'refused', exitCode: 5 });
    expect(await everything(place)).toEqual(before);

    const [outcome] = await underLoad(place, () =>
      place.cli(['rollout', '--expect-revision', `${from}`, '--json']),
    );
    await story(place, outcome, succeeded(from + 1));
  });
});

describe('a command that ends before its rollout', () => {
  it('by --timeout leaves it to go on, and wait follows it to its end', async () => {
    const from = await serving();
    await prepare(place, 'timed', half('5s'));
    await underLoad(place, async () => {
      const outcome = await place.cli(['rollout', '--timeout', '1s', '--json']);
      const late = { result: 'timed-out', exitCode: 7, revision: from, code: 'UD_TIMED_OUT' } as const;
      await story(place, outcome, { ...late, state: 'open' });
      await story(place, await place.cli(['wait', '--json']), succeeded(from + 1));
    });
    await serves(place, from + 1);
  });

  it.each([
    ['SIGINT', 130],
    ['SIGTERM', 143],
  ] as const)('by %s aborts it, and says so', async (signal, exitCode) => {
    const from = await serving();
    await prepare(place, signal, half('1m'));
    const [outcome] = await underLoad(place, async (sees) => {
      const rollout = following(place, ['rollout']);
      await rollout.hears('gate-reached');
      await sees(signal);
      process.kill(rollout.pid, signal);
      return await rollout.outcome;
    });
    const told = await story(place, outcome, {
      result: 'aborted',
      exitCode,
      revision: from,
      code: 'UD_ABORTED',
    });
    expect(entry(told, 'ordered')).toMatchObject({ how: 'abort', by: 'a test' });
    await serves(place, from);
  });

  it('by SIGINT with --on-interrupt detach leaves it to go on', async () => {
    const from = await serving();
    await prepare(place, 'detached', half());
    await underLoad(place, async () => {
      const rollout = following(place, ['rollout', '--on-interrupt', 'detach']);
      await rollout.hears('gate-reached');
      process.kill(rollout.pid, 'SIGINT');
      const left = { result: 'interrupted', exitCode: 130, revision: from, code: 'UD_INTERRUPTED' } as const;
      const { rollout: goesOn } = await story(place, await rollout.outcome, { ...left, state: 'open' });
      const end = await place.cli(['wait', `${goesOn.id}`, '--json']);
      await story(place, end, succeeded(goesOn.to.revision ?? 0));
    });
  });

  it('by SIGKILL leaves it to the controller, which finishes it', async () => {
    await prepare(place, 'killed', half());
    const [to] = await underLoad(place, async () => {
      const rollout = following(place, ['rollout']);
      const { rollout: id } = await rollout.hears('gate-reached');
      process.kill(rollout.pid, 'SIGKILL');
      await eventually('the command has ended', () => !isAlive(rollout.pid));
      const { rollout: open } = await recordsOf(place, id);
      expect(open.state).toBe('open');
      await story(place, await place.cli(['wait', `${id}`, '--json']), succeeded(open.to.revision ?? 0));
      return open.to.revision ?? 0;
    });
    await serves(place, to);
  });
});

describe('restart', () => {
  it('replaces every guest by another of the same revision, and no request fails', async () => {
    const revision = await serving();
    const before = Object.keys(await place.guestPids());
    await prepare(place, 'never');
    const [outcome, ledger] = await underLoad(place, () => place.cli(['restart', '--json']));
    const told = await story(place, outcome, succeeded(revision));
    expect(told.rollout.kind).toBe('restart');
    expect(did(told, 'retire').sort()).toEqual(before);
    expect(Object.keys(ledger.revisions)).toEqual(['killed']);
    await serves(place, revision);
  });
});

describe('retry', () => {
  it('brings about what was aborted, whatever the config says now', async () => {
    const from = await serving();
    await prepare(place, 'tried', half('manual'));
    await underLoad(place, async () => {
      const paused = { result: 'paused', exitCode: 6, revision: from, code: 'UD_PAUSED' } as const;
      const { rollout } = await story(place, await place.cli(['rollout', '--json']), {
        ...paused,
        state: 'open',
      });
      const aborted = { result: 'aborted', exitCode: 0, revision: from, code: null } as const;
      await story(place, await place.cli(['abort', '--json']), aborted);

      await prepare(place, 'never');
      const to = rollout.to.revision ?? 0;
      await story(place, await place.cli(['retry', '--json']), { ...paused, state: 'open' });
      const again = await story(place, await place.cli(['promote', '--json']), succeeded(to));
      expect(again.rollout.id).toBe(rollout.id + 1);
    });
    jsonRefusal(await place.cli(['retry', '--json']), 'UD_NOTHING_OPEN');
  });
});
