import { describe, expect, it } from 'vitest';
import type { Simulation } from '../../../src/daemon/simulation.ts';
import type { Hook, HookPoint } from '../../../src/domain/hooks.ts';
import { NO_HOOKS } from '../../../src/domain/hooks.ts';
import type { Happening } from '../../../src/domain/journal.ts';
import type { RolloutPolicy } from '../../../src/domain/policy.ts';
import type { Revision } from '../../../src/domain/revision.ts';
import type { Rollout } from '../../../src/domain/rollout.ts';
import { runRollout } from '../../../src/engine/engine.ts';
import { UnideployError } from '../../../src/errors.ts';
import type { HookRunner } from '../../../src/hooks/port.ts';
import type { Measures } from '../../../src/measure/port.ts';
import { metric, UNBOUND } from '../../support/metrics.ts';
import { goalOf, HEALTH, POLICY, revision } from '../../support/revisions.ts';
import { open, tablesOf, world } from '../../support/rollouts/world.ts';

const IMAGES: [Revision, Revision] = [revision(1), revision(2, { image: 'b' })];
const BLUE_GREEN: Partial<Rollout> = { strategy: 'blue-green' };
const said = metric({ pass: UNBOUND, fail: UNBOUND });
const analysis = { interval: 1000, count: 1, dryRun: false, metrics: [said] };

function under(policy: Partial<RolloutPolicy>, changes = BLUE_GREEN): Partial<Rollout> {
  return { ...changes, policy: { ...POLICY, ...policy } };
}

function measuring(verdict: 'success' | 'failure' | 'inconclusive'): Measures {
  const measurement = { value: null, stable: null, sample: null, verdict, said: verdict };
  return { open: async () => ({ measure: async () => measurement }) };
}

/** Hooks that note where they were run, and fail at one point. */
function hooking(failsAt: HookPoint | null): {
  hooks: HookRunner;
  policy: RolloutPolicy['hooks'];
  ran: HookPoint[];
} {
  const hook: Hook = { kind: 'command', command: 'notify', folder: '/', timeout: 1000 };
  const ran: HookPoint[] = [];
  const points = Object.keys(NO_HOOKS) as HookPoint[];
  return {
    ran,
    policy: Object.fromEntries(points.map((point) => [point, [hook]])) as unknown as RolloutPolicy['hooks'],
    hooks: {
      run: async (_hook, { point }) => {
        ran.push(point);
        if (point === failsAt) throw new UnideployError('UD_HOOK_FAILED', 'exit code 1', 'mend it');
      },
    },
  };
}

async function run(sim: Simulation): Promise<Rollout> {
  return await sim.clock.until(runRollout(sim.controller(HEALTH), 2));
}

/** Says something to the rollout, so many ms after now. */
function say(sim: Simulation, after: number, ...happenings: Happening[]): void {
  void sim.clock.sleep(after).then(() => {
    const told = sim.store.rollout(2);
    for (const happening of happenings) if (told) sim.store.append(told, sim.clock.now(), happening);
  });
}

const by = 'ana';
const promote: Happening = { event: 'ordered', how: 'promote', by };

function passages(sim: Simulation): (string | null)[][] {
  return sim.store.entries.flatMap((entry) =>
    entry.event === 'gate-passed' ? [[entry.gate, entry.by]] : [],
  );
}

function events(sim: Simulation, event: string): object[] {
  return sim.store.entries.filter((entry) => entry.event === event);
}

describe('a gate', () => {
  it('waits its time, and opens by itself', async () => {
    const sim = await world(IMAGES, 1);
    open(sim, under({ promotion: 20_000 }));
    expect((await run(sim)).state).toBe('succeeded');
    const [passed] = events(sim, 'gate-passed');
    expect(passed).toMatchObject({ gate: 'promotion', by: null });
    expect(passed).toHaveProperty('ms');
    expect((passed as { ms: number }).ms).toBeGreaterThanOrEqual(20_000);
  });

  it('stays shut until somebody promotes it, however long that takes, and says who did', async () => {
    const sim = await world(IMAGES, 1);
    open(sim, under({ promotion: null, progressDeadline: 10_000, deadline: 20_000 }));
    say(sim, 3_600_000, promote);
    expect((await run(sim)).state).toBe('succeeded');
    expect(passages(sim)).toEqual([['promotion', by]]);
  });

  it('is passed with all that would come when it is promoted in full', async () => {
    const sim = await world(IMAGES, 1);
    open(sim, under({ promotion: null, bake: 600_000 }));
    say(sim, 30_000, { event: 'ordered', how: 'promote-full', by });
    expect((await run(sim)).state).toBe('succeeded');
    expect(passages(sim).map(([gate]) => gate)).toEqual(['promotion', 'bake']);
    expect(sim.clock.now()).toBeLessThan(1_060_000);
  });

  it('does not open for anybody while its hooks run', async () => {
    const { hooks, policy, ran } = hooking(null);
    const sim = await world(IMAGES, 1, undefined, {
      hooks: { run: async (...told) => await sim.clock.sleep(30_000).then(() => hooks.run(...told)) },
    });
    open(sim, under({ hooks: { ...NO_HOOKS, 'pre-cutover': policy['pre-cutover'] } }));
    say(sim, 15_000, promote);
    expect((await run(sim)).state).toBe('succeeded');
    expect(passages(sim)).toEqual([['pre-cutover', null]]);
    expect(ran).toEqual(['pre-cutover']);
  });

  it('gets stuck when its analysis is inconclusive, and is passed when somebody decides so', async () => {
    const sim = await world(IMAGES, 1, undefined, { measures: measuring('inconclusive') });
    open(sim, under({ analysis }));
    say(sim, 60_000, promote);
    expect((await run(sim)).state).toBe('succeeded');
    expect(events(sim, 'gate-stuck')).toMatchObject([{ gate: 'bake' }]);
    expect(passages(sim)).toEqual([['bake', by]]);
  });

  it.each([
    ['rollback', 'rolled-back', { code: 'UD_GATE_TIMEOUT' }],
    ['promote', 'succeeded', null],
  ] as const)('that nobody decides about in time ends in a %s', async (action, state, reason) => {
    for (const policy of [{ analysis }, { promotion: null }]) {
      const sim = await world(IMAGES, 1, undefined, { measures: measuring('inconclusive') });
      open(sim, under({ ...policy, gateTimeout: { after: 60_000, action } }));
      expect(await run(sim)).toMatchObject(reason ? { state, reason } : { state });
    }
  });

  it('fails the rollout when its analysis does', async () => {
    const sim = await world(IMAGES, 1, undefined, { measures: measuring('failure') });
    open(sim, under({ analysis }));
    expect(await run(sim)).toMatchObject({ state: 'rolled-back', reason: { code: 'UD_ANALYSIS_FAILED' } });
  });
});

describe('deadlines', () => {
  it('do not run while somebody has the rollout stand still', async () => {
    const sim = await world(IMAGES, 1);
    open(
      sim,
      under({
        promotion: null,
        progressDeadline: 10_000,
        gateTimeout: { after: 30_000, action: 'rollback' },
      }),
    );
    say(sim, 500, { event: 'paused', by });
    say(sim, 600_000, { event: 'resumed', by });
    say(sim, 620_000, promote);
    expect((await run(sim)).state).toBe('succeeded');
  });

  it('of a gate do not run while it is paused: who paused it can still decide', async () => {
    const sim = await world(IMAGES, 1);
    open(sim, under({ promotion: null, gateTimeout: { after: 30_000, action: 'rollback' } }));
    say(sim, 20_000, { event: 'paused', by });
    say(sim, 600_000, { event: 'resumed', by });
    say(sim, 605_000, promote);
    expect((await run(sim)).state).toBe('succeeded');
  });

  it('end a rollout that does not get on, and nothing but progress puts that off', async () => {
    const sim = await world(IMAGES, 1, () => 'never-healthy');
    open(sim, {
      ...under({ progressDeadline: 5000 }),
      health: { ...HEALTH, deadline: 60_000 },
    });
    const pauses = Array.from({ length: 20 }, (_, n) => n * 1000 + 500);
    for (const at of pauses) {
      say(sim, at, { event: 'paused', by });
      say(sim, at + 600, { event: 'resumed', by });
    }
    expect(await run(sim)).toMatchObject({
      state: 'rolled-back',
      reason: { code: 'UD_DEADLINE', message: expect.stringContaining('did not get on for 5 s') },
    });
    expect(sim.clock.now()).toBeLessThan(1_020_000);
  });
});

describe('hooks', () => {
  it('that fail before the rollout keep it from changing anything', async () => {
    const { hooks, policy } = hooking('pre-rollout');
    const sim = await world(IMAGES, 1, undefined, { hooks });
    const tables = tablesOf(sim);
    open(sim, under({ hooks: policy }));
    expect(await run(sim)).toMatchObject({ state: 'rolled-back', reason: { code: 'UD_HOOK_FAILED' } });
    expect(tables).toEqual([]);
    expect(events(sim, 'action-started')).toEqual([]);
    expect((await sim.world.hypervisor.list()).map(({ spec }) => spec.id)).toEqual(['site-1-1']);
  });

  it('run once each, in their order', async () => {
    const { hooks, policy, ran } = hooking(null);
    const sim = await world(IMAGES, 1, undefined, { hooks });
    open(sim, under({ hooks: policy }));
    expect((await run(sim)).state).toBe('succeeded');
    expect(ran).toEqual(['pre-rollout', 'pre-cutover', 'post-cutover', 'post-rollout']);
  });

  it('that fail after the cutover switch back', async () => {
    const { hooks, policy, ran } = hooking('post-cutover');
    const sim = await world(IMAGES, 1, undefined, { hooks });
    open(sim, under({ hooks: policy }));
    expect(await run(sim)).toMatchObject({ state: 'rolled-back', reason: { code: 'UD_HOOK_FAILED' } });
    expect(ran.at(-1)).toBe('on-rollback');
  });

  it('that fail after the rollout, or of a rollback, change no verdict', async () => {
    const after = hooking('post-rollout');
    const good = await world(IMAGES, 1, undefined, { hooks: after.hooks });
    open(good, under({ hooks: after.policy }));
    expect((await run(good)).state).toBe('succeeded');
    expect(events(good, 'hook-finished').at(-1)).toMatchObject({ error: { code: 'UD_HOOK_FAILED' } });

    const back = hooking('on-rollback');
    const bad = await world(IMAGES, 1, () => 'never-healthy', { hooks: back.hooks });
    open(bad, under({ hooks: back.policy }));
    expect((await run(bad)).state).toBe('rolled-back');
  });
});

describe('an abort', () => {
  it('at any step brings back exactly what was there', async () => {
    for (const strategy of ['rolling', 'blue-green', 'canary', 'recreate'] as const) {
      for (let nth = 1; ; nth++) {
        const sim = await world(IMAGES, 2);
        open(sim, { strategy, from: goalOf(1, 2), to: goalOf(2, 2) });
        const append = sim.store.append;
        let started = 0;
        sim.store.append = (rollout, at, happening) => {
          const entry = append(rollout, at, happening);
          if (happening.event === 'action-started' && ++started === nth)
            append(rollout, at, { event: 'ordered', how: 'abort', by });
          return entry;
        };
        const { state, reason } = await run(sim);
        if (started < nth) break;
        const [table] = await sim.dataPlane.status();
        const serving = table?.routes.filter(({ weight }) => weight > 0).map((route) => route.revision);
        // the order may come with the last action of all
        if (state !== 'succeeded') {
          expect([strategy, nth, state, reason?.code]).toEqual([strategy, nth, 'aborted', 'UD_ABORTED']);
          expect(serving).toEqual([1, 1]);
          expect(await sim.world.hypervisor.list()).toHaveLength(2);
        }
      }
    }
  });
});

describe('going back', () => {
  it('that fails is not rolled back in turn: it ends, and says so', async () => {
    const sim = await world(IMAGES, 1, () => 'never-healthy');
    open(sim, { ...under({}), kind: 'rollback' });
    const ended = await run(sim);
    expect(ended).toMatchObject({
      state: 'failed',
      direction: 'forward',
      reason: { code: 'UD_GUEST_UNHEALTHY' },
    });
    expect(events(sim, 'rollback-started')).toEqual([]);
    expect((await sim.dataPlane.status())[0]?.routes).toMatchObject([{ instance: 'site-1-1', weight: 100 }]);
  });

  it('launches nothing where the old instances are still warm', async () => {
    const sim = await world(IMAGES, 2);
    open(sim, { ...under({ warm: 60_000 }), from: goalOf(1, 2), to: goalOf(2, 2) });
    expect((await run(sim)).state).toBe('succeeded');
    const before = events(sim, 'action-started').length;
    const now = sim.clock.now();
    open(sim, {
      ...under({ warm: 60_000 }),
      id: 3,
      kind: 'rollback',
      from: goalOf(2, 2),
      to: goalOf(1, 2),
      startedAt: now,
    });
    expect((await sim.clock.until(runRollout(sim.controller(HEALTH), 3))).state).toBe('succeeded');
    expect(events(sim, 'action-started').slice(before)).toMatchObject([{ action: { kind: 'shift' } }]);
    expect(sim.clock.now() - now).toBeLessThan(100);
  });
});

describe('a rollout that another one supersedes', () => {
  it('leaves the pool as it is when what was under way has ended, and runs no hook of a rollback', async () => {
    const { hooks, policy, ran } = hooking(null);
    const sim = await world(IMAGES, 1, () => 'launch-rejected', { hooks });
    open(sim, under({ hooks: policy }));
    say(sim, 20, { event: 'ordered', how: 'supersede', by });
    expect(await run(sim)).toMatchObject({ state: 'superseded', reason: { code: 'UD_SUPERSEDED' } });
    expect(ran).toEqual(['pre-rollout']);
    expect((await sim.dataPlane.status())[0]?.routes).toMatchObject([{ instance: 'site-1-1', weight: 100 }]);
  });
});
