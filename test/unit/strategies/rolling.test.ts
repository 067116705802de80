import { describe, expect, it } from 'vitest';
import { rolling } from '../../../strategies/rolling.ts';
import { instance, instances, pool, view } from '../../support/pools.ts';
import { HEALTH, POLICY } from '../../support/revisions.ts';

const NOW = 5000;
const booting = { verified: false, health: 'unhealthy', launchedAt: 2000, weight: 0 } as const;

describe('rolling', () => {
  it('launches all replicas at once where nothing runs', () => {
    expect(rolling.next(pool(), view(), NOW)).toEqual({
      kind: 'act',
      actions: ['new-1', 'new-2', 'new-3', 'new-4'].map((id) => ({ kind: 'launch', instance: id })),
    });
  });

  it('launches no more than the surge above the replicas, and drains nobody before the new one serves', () => {
    const start = rolling.next(pool(...instances(4, 'old', 1)), view(), NOW);
    expect(start).toEqual({ kind: 'act', actions: [{ kind: 'launch', instance: 'new-1' }] });
    const meanwhile = rolling.next(
      pool(...instances(4, 'old', 1), instance('new-1', 2, booting)),
      view(),
      NOW,
    );
    expect(meanwhile).toEqual({ kind: 'wait', reason: 'new-1 to be healthy and verified' });
  });

  it('admits a new instance only when it is healthy and has proven its revision', () => {
    const old = instances(4, 'old', 1);
    const unproven = instance('new-1', 2, { ...booting, health: 'healthy' });
    expect(rolling.next(pool(...old, unproven), view(), NOW).kind).toBe('wait');
    const proven = instance('new-1', 2, { launchedAt: 2000, weight: 0 });
    expect(rolling.next(pool(...old, proven), view(), NOW)).toEqual({
      kind: 'act',
      actions: [{ kind: 'admit', instance: 'new-1', weight: 100 }],
    });
  });

  it('drains an old instance when a new one has taken its place, then retires it', () => {
    const fresh = instance('new-1', 2, { launchedAt: 2000 });
    const drain = rolling.next(pool(...instances(4, 'old', 1), fresh), view(), NOW);
    expect(drain).toEqual({ kind: 'act', actions: [{ kind: 'drain', instance: 'old-1' }] });
    const drained = instance('old-1', 1, { weight: 0 });
    const retire = rolling.next(pool(drained, ...instances(4, 'old', 1).slice(1), fresh), view(), NOW);
    expect(retire).toEqual({ kind: 'act', actions: [{ kind: 'retire', instance: 'old-1' }] });
  });

  it('drains before it launches when it may not surge', () => {
    const policy = { ...POLICY, maxSurge: 0, maxUnavailable: 2 };
    const decision = rolling.next(pool(...instances(4, 'old', 1)), view({ policy }), NOW);
    expect(decision).toEqual({
      kind: 'act',
      actions: ['old-1', 'old-2'].map((id) => ({ kind: 'drain', instance: id })),
    });
  });

  it('fails when a new instance stops by itself, or is not ready within its deadline', () => {
    const stopped = instance('new-1', 2, { ...booting, state: 'stopped' });
    expect(rolling.next(pool(stopped), view(), NOW)).toEqual({
      kind: 'fail',
      instance: 'new-1',
      reason: 'stopped by itself',
    });
    const late = 2000 + HEALTH.deadline + 1;
    expect(rolling.next(pool(instance('new-1', 2, booting)), view(), late)).toMatchObject({
      kind: 'fail',
      reason: 'was not healthy within 10 s',
    });
    const liar = instance('new-1', 2, { ...booting, health: 'healthy' });
    expect(rolling.next(pool(liar), view(), late)).toMatchObject({
      reason: 'did not prove revision 2 within 10 s',
    });
  });

  it('waits for the first answers after a controller has taken over, instead of judging', () => {
    const unread = instance('new-1', 2, { ...booting, health: 'unknown' });
    expect(rolling.next(pool(unread, ...instances(3, 'old', 2)), view(), 60_000).kind).toBe('wait');
    const old = instance('old-1', 2, { health: 'unknown' });
    expect(rolling.next(pool(old), view({ replicas: 1 }), NOW)).toEqual({
      kind: 'wait',
      reason: 'the first answers',
    });
  });

  it('replaces a dead instance of the right revision without failing: that is a repair', () => {
    const dead = instance('old-1', 2, { state: 'stopped' });
    const decision = rolling.next(pool(dead, ...instances(4, 'old', 2).slice(1)), view(), NOW);
    expect(decision).toEqual({
      kind: 'act',
      actions: [
        { kind: 'retire', instance: 'old-1' },
        { kind: 'launch', instance: 'new-1' },
      ],
    });
  });

  it('takes the instances above the replicas away, and everything when nothing is to be left', () => {
    const down = rolling.next(pool(...instances(2, 'old', 1)), view({ target: null, replicas: 0 }), NOW);
    expect(down).toMatchObject({ actions: [{ kind: 'drain' }, { kind: 'drain' }] });
    const less = rolling.next(pool(...instances(4, 'old', 2)), view({ replicas: 3 }), NOW);
    expect(less).toEqual({ kind: 'act', actions: [{ kind: 'drain', instance: 'old-4' }] });
  });

  it('does nothing to an instance while an action on it is under way', () => {
    const draining = instance('old-1', 1, { weight: 0, acting: 'drain' });
    expect(rolling.next(pool(draining), view({ target: null, replicas: 0 }), NOW)).toEqual({
      kind: 'wait',
      reason: 'old-1 to leave',
    });
  });

  it('is done when every replica serves the target and nobody else is there', () => {
    expect(rolling.next(pool(...instances(4, 'old', 2)), view(), NOW)).toEqual({ kind: 'done' });
  });
});
