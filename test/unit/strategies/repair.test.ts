import { describe, expect, it } from 'vitest';
import type { ObservedInstance } from '../../../src/domain/pool.ts';
import type { Sick } from '../../../src/domain/repair.ts';
import { act, done } from '../../../src/domain/strategy.ts';
import { repair } from '../../../strategies/repair.ts';
import { instance, instances, pool, view } from '../../support/pools.ts';
import { POLICY } from '../../support/revisions.ts';

const NOW = 5000;
const TIGHT = { ...POLICY, maxSurge: 0, maxUnavailable: 1 };
const launch = { kind: 'launch', instance: 'new-1' } as const;
const retire = { kind: 'retire', instance: 'ill' } as const;
const drain = { kind: 'drain', instance: 'ill' } as const;

const ill = (changes: Partial<ObservedInstance> = {}) =>
  instance('ill', 2, { health: 'unhealthy', weight: 0, ...changes });
const fresh = (changes: Partial<ObservedInstance> = {}) =>
  instance('new-1', 2, { launchedAt: 2000, ...changes });
const booting = fresh({ verified: false, health: 'unhealthy', weight: 0, routed: false });
const well = instances(3, 'well', 2);

const sick = (cause: Sick['cause'], treatment: Sick['treatment'] = 'replace') => ({
  from: 2,
  change: 'none' as const,
  sick: [{ instance: 'ill', cause, treatment }],
});

describe('a repair', () => {
  it('launches another one first, and has the sick one go when that serves', () => {
    const rollout = view(sick('hung'));
    expect(repair.next(pool(...well, ill()), rollout, NOW)).toEqual(act(launch));
    expect(repair.next(pool(...well, ill(), booting), rollout, NOW).kind).toBe('wait');
    const ready = fresh({ weight: 0, routed: false });
    expect(repair.next(pool(...well, ill(), ready), rollout, NOW)).toEqual(
      act({ kind: 'admit', instance: 'new-1', weight: 100 }),
    );
    expect(repair.next(pool(...well, ill(), fresh()), rollout, NOW)).toEqual(act(retire));
    expect(repair.next(pool(...well, fresh()), rollout, NOW)).toEqual(done);
  });

  it('takes away at once what has died', () => {
    expect(repair.next(pool(...well, ill({ state: 'stopped' })), view(sick('dead')), NOW)).toEqual(
      act(retire, launch),
    );
  });

  it('leaves the last of a table in it until another one is there, for requests wait as long', () => {
    const rollout = view({ ...sick('dead'), replicas: 1 });
    const dead = ill({ state: 'stopped' });
    expect(repair.next(pool(dead), rollout, NOW)).toEqual(act(launch));
    expect(repair.next(pool(dead, booting), rollout, NOW).kind).toBe('wait');
    expect(repair.next(pool(dead, fresh()), rollout, NOW)).toEqual(act(retire));
  });

  it('has one that still answers finish what it has begun', () => {
    const rollout = view(sick('starved'));
    const starved = ill({ health: 'healthy', weight: 100 });
    expect(repair.next(pool(...well, starved), rollout, NOW)).toEqual(act(launch));
    expect(repair.next(pool(...well, starved, fresh()), rollout, NOW)).toEqual(act(drain));
    expect(repair.next(pool(...well, ill({ inFlight: 2 }), fresh()), view(sick('erring')), NOW)).toEqual(
      act(drain),
    );
  });

  it('has the sick one go first where there is no room beside it', () => {
    const rollout = view({ ...sick('hung'), policy: TIGHT });
    expect(repair.next(pool(...well, ill()), rollout, NOW)).toEqual(act(retire));
    expect(repair.next(pool(...well), rollout, NOW)).toEqual(act(launch));
    const starved = ill({ health: 'healthy', weight: 100 });
    expect(repair.next(pool(...well, starved), view({ ...sick('starved'), policy: TIGHT }), NOW)).toEqual(
      act(drain),
    );
  });

  it('has the sick one go first where the policy wants it', () => {
    expect(repair.next(pool(...well, ill()), view(sick('hung', 'restart')), NOW)).toEqual(act(retire));
  });

  it('leaves the only instance its share until another one serves', () => {
    const rollout = view({ ...sick('erring'), replicas: 1 });
    const only = ill({ weight: 100 });
    expect(repair.next(pool(only), rollout, NOW)).toEqual(act(launch));
    expect(repair.next(pool(only, booting), rollout, NOW).kind).toBe('wait');
    expect(repair.next(pool(only, fresh()), rollout, NOW)).toEqual(act(drain));
  });

  it('launches what is missing, and touches no other revision', () => {
    const rollout = view({ from: 2, change: 'none', replicas: 3 });
    const warm = instance('warm', 1, { weight: 0 });
    expect(repair.next(pool(...well.slice(1), warm), rollout, NOW)).toEqual(act(launch));
    expect(repair.next(pool(...well, warm), rollout, NOW)).toEqual(done);
  });

  it('does not wait for another one that goes wrong meanwhile: that is the next repair', () => {
    const [first, ...others] = well;
    const worse = { ...(first as ObservedInstance), health: 'unhealthy' as const };
    expect(repair.next(pool(worse, ...others, fresh()), view(sick('hung')), NOW)).toEqual(done);
  });

  it('that fails takes back what it has launched, and no more', () => {
    const back = view({ ...sick('hung'), direction: 'back', since: 4000 });
    expect(repair.next(pool(...well, ill(), booting), back, NOW)).toEqual(
      act({ kind: 'retire', instance: 'new-1' }),
    );
    expect(repair.next(pool(...well, ill()), back, NOW)).toEqual(done);
    expect(repair.next(pool(...well, ill({ health: 'healthy' })), back, NOW)).toEqual(
      act({ kind: 'admit', instance: 'ill', weight: 100 }),
    );
  });
});
