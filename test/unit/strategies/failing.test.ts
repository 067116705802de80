import { describe, expect, it } from 'vitest';
import type { ObservedInstance } from '../../../src/domain/pool.ts';
import { isFit, obstacle } from '../../../strategies/failing.ts';
import { instance, pool, view } from '../../support/pools.ts';
import { HEALTH, POLICY } from '../../support/revisions.ts';

const LAUNCHED = 2000;
const LATE = LAUNCHED + HEALTH.deadline + 1;
const settling = view({ policy: { ...POLICY, minHealthy: 3000 } });

function fresh(changes: Partial<ObservedInstance>): ObservedInstance {
  return instance('new-1', 2, { launchedAt: LAUNCHED, weight: 0, routed: false, ...changes });
}

describe('an instance that has to be healthy for a while', () => {
  it('counts when no answer was bad for so long', () => {
    expect(isFit(fresh({ healthySince: 4000 }), settling, 6999)).toBe(false);
    expect(isFit(fresh({ healthySince: 4000 }), settling, 7000)).toBe(true);
    expect(isFit(fresh({ healthySince: null }), settling, 7000)).toBe(false);
  });

  it('fails when it still answers badly now and then after its deadline', () => {
    const flapping = pool(fresh({ healthySince: null }));
    expect(obstacle(flapping, settling, LATE - 1)).toBeUndefined();
    expect(obstacle(flapping, settling, LATE)).toEqual({
      kind: 'fail',
      instance: 'new-1',
      reason: 'was not healthy for 3 s without a break within 10 s',
    });
  });

  it('is given its time when a controller took over and began to ask late', () => {
    expect(obstacle(pool(fresh({ healthySince: LATE - 500 })), settling, LATE)).toBeUndefined();
  });

  it('has counted already when it is in the table: one bad answer there is no failure', () => {
    expect(obstacle(pool(fresh({ healthySince: null, routed: true })), settling, LATE)).toBeUndefined();
  });
});

describe('what stops every strategy', () => {
  it('is an instance in the table that nobody has asked yet, whoever launched it', () => {
    const unknown = { health: 'unknown', verified: false, healthySince: null } as const;
    const first = { kind: 'wait', reason: 'the first answers' };
    expect(obstacle(pool(instance('old-1', 1, unknown)), view(), 5000)).toEqual(first);
    expect(obstacle(pool(fresh({ ...unknown, routed: true, weight: 100 })), view(), 5000)).toEqual(first);
    expect(obstacle(pool(fresh(unknown)), view(), 5000)).toBeUndefined();
  });

  it('is what the rollout has brought and turned bad: its instances, and guests with its volumes', () => {
    const bad = { health: 'unhealthy', healthySince: null } as const;
    const failure = { kind: 'fail', reason: 'served the new revision and became unhealthy' };
    expect(obstacle(pool(fresh({ ...bad, weight: 10, routed: true })), view(), 5000)).toMatchObject(failure);
    const swapped = pool(instance('old-1', 2, bad));
    expect(obstacle(swapped, view({ change: 'volumes' }), 5000)).toMatchObject(failure);
    expect(obstacle(swapped, view(), 5000)).toBeUndefined();
    expect(obstacle(swapped, view({ change: 'volumes', direction: 'back' }), 5000)).toBeUndefined();
  });
});
