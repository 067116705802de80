import { describe, expect, it } from 'vitest';
import type { Happening } from '../../../src/domain/journal.ts';
import type { StrategyName } from '../../../src/domain/policy.ts';
import type { Rollout } from '../../../src/domain/rollout.ts';
import { runRollout } from '../../../src/engine/engine.ts';
import { Tidier } from '../../../src/engine/tidy.ts';
import { sqliteStore } from '../../../src/store/sqlite.ts';
import { goalOf, HEALTH, POLICY, revision, rollout } from '../../support/revisions.ts';
import { world } from '../../support/rollouts/world.ts';

const WARM = 60_000;
const IMAGES = [revision(1), revision(2, { image: 'b' })] as const;

const FINISHED: Happening = {
  event: 'rollout-finished',
  verdict: 'succeeded',
  reason: null,
  ms: 0,
  evidence: null,
  verified: true,
};

/** A service whose blue instances were left warm when green took over, if the strategy does so. */
async function warm(strategy: StrategyName = 'blue-green') {
  const sim = await world([...IMAGES], 2);
  const store = sqliteStore(':memory:');
  for (const one of IMAGES) store.addRevision(one);
  const controller = { ...sim.controller(HEALTH), store };
  const routing = sim.controller(HEALTH).routing;
  const parts = { ...controller, routing };
  const tidier = new Tidier({ ...parts, onJournal: () => {} });
  const opened = (rest: Partial<Rollout>): Rollout => {
    const at = sim.clock.now();
    const { id: _, ...fresh } = rollout(0, goalOf(1, 2), goalOf(2, 2), { startedAt: at, since: at, ...rest });
    return store.openRollout(fresh);
  };
  const first = opened({ from: goalOf(null, 0), to: goalOf(1, 2) });
  store.closeRollout({ ...first, state: 'succeeded', endedAt: 0 }, FINISHED, 'warm');
  const { id } = opened({ strategy, policy: { ...POLICY, warm: WARM } });
  const { state } = await sim.clock.until(runRollout(parts, id));
  const ids = async () => (await sim.world.hypervisor.list()).map(({ spec }) => spec.id);
  const look = async () => {
    tidier.look();
    await sim.clock.until(tidier.idle('site'));
    return await ids();
  };
  return { sim, store, state, look, opened, pass: (ms: number) => sim.clock.until(sim.clock.sleep(ms)) };
}

describe('warm instances', () => {
  it('are ended when their time is over, and not before', async () => {
    const { state, look, pass, store, sim } = await warm();
    expect(state).toBe('succeeded');
    await pass(WARM - 1000);
    expect(await look()).toHaveLength(4);
    await pass(1000);
    expect(await look()).toEqual(['site-2-1', 'site-2-2']);
    expect(store.service('site')?.warm).toBeNull();
    expect((await sim.dataPlane.status())[0]?.routes).toHaveLength(2);
  });

  it('are none where the strategy has left none, whatever the policy says', async () => {
    const { state, look, store } = await warm('rolling');
    expect(state).toBe('succeeded');
    expect(store.service('site')?.warm).toBeNull();
    expect(await look()).toHaveLength(2);
  });

  it('are left alone while a rollout is under way, which may want them', async () => {
    const { look, pass, opened } = await warm();
    opened({ kind: 'rollback', from: goalOf(2, 2), to: goalOf(1, 2) });
    await pass(2 * WARM);
    expect(await look()).toHaveLength(4);
  });
});
