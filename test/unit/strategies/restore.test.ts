import { describe, expect, it } from 'vitest';
import type { ObservedInstance } from '../../../src/domain/pool.ts';
import { act, done } from '../../../src/domain/strategy.ts';
import { restore } from '../../../strategies/restore.ts';
import { instance, instances, pool, view } from '../../support/pools.ts';
import { POLICY } from '../../support/revisions.ts';

const NOW = 5000;
const launch = { kind: 'launch', instance: 'new-1' } as const;
const drain = (id: string) => ({ kind: 'drain', instance: id }) as const;
const retire = (id: string) => ({ kind: 'retire', instance: id }) as const;
const rollout = view({ from: 2, change: 'none', replaces: 'old-1', replicas: 3 });
const old = instances(3, 'old', 2);
const [first, second, third] = old as [ObservedInstance, ObservedInstance, ObservedInstance];
const fresh = (changes: Partial<ObservedInstance> = {}) =>
  instance('new-1', 2, { launchedAt: 2000, ...changes });

describe('a restore', () => {
  it('launches one, admits it once it is ready, and has the one go whose place it takes', () => {
    expect(restore.next(pool(...old), rollout, NOW)).toEqual(act(launch));
    const ready = fresh({ weight: 0, routed: false });
    expect(restore.next(pool(...old, { ...ready, verified: false }), rollout, NOW).kind).toBe('wait');
    expect(restore.next(pool(...old, ready), rollout, NOW)).toEqual(
      act({ kind: 'admit', instance: 'new-1', weight: 100 }),
    );
    expect(restore.next(pool(...old, fresh()), rollout, NOW)).toEqual(act(drain('old-1')));
    const drained = { ...first, weight: 0, routed: false };
    expect(restore.next(pool(drained, second, third, fresh()), rollout, NOW)).toEqual(act(retire('old-1')));
    expect(restore.next(pool(second, third, fresh()), rollout, NOW)).toEqual(done);
  });

  it('takes the place of the newest where the one that was saved is gone', () => {
    const repaired = instance('old-9', 2, { launchedAt: 900 });
    const members = pool(second, third, repaired);
    expect(restore.next(members, rollout, NOW)).toEqual(act(launch));
    expect(restore.next(pool(...members.instances, fresh()), rollout, NOW)).toEqual(act(drain('old-9')));
  });

  it('leaves a pool that lacks one alone, but for the dead', () => {
    const dead = { ...first, state: 'stopped' as const };
    expect(restore.next(pool(dead, second, third), rollout, NOW)).toEqual(act(launch));
    expect(restore.next(pool(dead, second, third, fresh()), rollout, NOW)).toEqual(act(retire('old-1')));
    expect(restore.next(pool(second, third, fresh()), rollout, NOW)).toEqual(done);
  });

  it.each([
    ['there is no room for both', { maxSurge: 0, maxUnavailable: 1 }],
    ['two may never run at once', { strategy: 'recreate' as const }],
  ])('has the old one go first where %s', (_, policy) => {
    const tight = { ...rollout, replicas: 1, policy: { ...POLICY, ...policy } };
    expect(restore.next(pool(first), tight, NOW)).toEqual(act(drain('old-1')));
    const drained = { ...first, weight: 0, routed: false };
    expect(restore.next(pool(drained), tight, NOW)).toEqual(act(retire('old-1')));
    expect(restore.next(pool({ ...drained, acting: 'retire' }), tight, NOW).kind).toBe('wait');
    expect(restore.next(pool(), tight, NOW)).toEqual(act(launch));
    expect(restore.next(pool(fresh()), tight, NOW)).toEqual(done);
  });

  it('keeps one of two that a controller has left which died meanwhile', () => {
    const late = instance('new-0', 2, { launchedAt: 2100, weight: 0, routed: false, health: 'unhealthy' });
    expect(restore.next(pool(second, third, fresh(), late), rollout, NOW)).toEqual(act(retire('new-0')));
    expect(restore.next(pool(second, third, fresh()), rollout, NOW)).toEqual(done);
  });

  it('has every instance of another revision go', () => {
    const back = { ...rollout, from: 3, replicas: 1, change: 'volumes' as const };
    const newer = instance('old-1', 3);
    expect(restore.next(pool(newer), back, NOW)).toEqual(act(launch));
    expect(restore.next(pool(newer, fresh()), back, NOW)).toEqual(act(drain('old-1')));
  });

  it('fails when what was restored does not get well, and then boots what is missing', () => {
    const broken = fresh({ health: 'unhealthy', weight: 0, routed: false });
    expect(restore.next(pool(...old, broken), rollout, 60_000).kind).toBe('fail');
    const back = { ...rollout, direction: 'back' as const, since: 4000, replaces: null };
    expect(restore.next(pool(...old, broken), back, NOW)).toEqual(act(retire('new-1')));
    expect(restore.next(pool(second, third), back, NOW)).toEqual(act(launch));
  });
});
