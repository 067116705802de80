import { describe, expect, it } from 'vitest';
import { bakeGate, hookGate } from '../../../src/domain/gate.ts';
import { act, done, stand } from '../../../src/domain/strategy.ts';
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

  it('runs the hooks of the cutover before the first clients move, and launches before that', () => {
    const hooked = view({ passed: {} });
    const old = instances(4, 'old', 1);
    expect(rolling.next(pool(...old), hooked, NOW)).toMatchObject({ actions: [{ kind: 'launch' }] });
    const ready = instance('new-1', 2, { launchedAt: 2000, weight: 0 });
    expect(rolling.next(pool(...old, ready), hooked, NOW)).toEqual(stand(hookGate('pre-cutover')));
    const policy = { ...POLICY, maxSurge: 0, maxUnavailable: 1 };
    expect(rolling.next(pool(...old), view({ policy, passed: {} }), NOW)).toEqual(
      stand(hookGate('pre-cutover')),
    );
  });

  it('waits between a batch that serves and the next, and lets those go meanwhile that have left', () => {
    const batches = { ...POLICY, batchWait: 30_000 };
    const gate = { key: '1 replaced', wait: 30_000, hooks: null, analysed: false };
    const old = instances(4, 'old', 1);
    const fresh = instance('new-1', 2, { launchedAt: 2000 });
    const first = pool(...old.slice(1), fresh);
    expect(rolling.next(first, view({ policy: batches }), NOW)).toEqual(stand(gate));
    const left = pool(instance('old-1', 1, { weight: 0 }), ...old.slice(1), fresh);
    expect(rolling.next(left, view({ policy: batches }), NOW)).toEqual(
      act({ kind: 'retire', instance: 'old-1' }),
    );
    const passed = { ...view().passed, [gate.key]: 1 };
    expect(rolling.next(first, view({ policy: batches, passed }), NOW)).toEqual(
      act({ kind: 'launch', instance: 'new-1' }),
    );
  });

  it('stands at the hooks after the cutover and bakes when every replica serves the target', () => {
    const through = pool(...instances(4, 'new', 2));
    const policy = { ...POLICY, bake: 5000 };
    expect(rolling.next(through, view({ policy, passed: { 'pre-cutover': 0 } }), NOW)).toEqual(
      stand(hookGate('post-cutover')),
    );
    const baking = view({ policy, passed: { 'pre-cutover': 0, 'post-cutover': 0 } });
    expect(rolling.next(through, baking, NOW)).toEqual(stand(bakeGate(5000)));
    const back = view({ policy, target: 2, direction: 'back', passed: {} });
    expect(rolling.next(through, back, NOW)).toEqual(done);
  });

  it('is done when every replica serves the target and nobody else is there', () => {
    expect(rolling.next(pool(...instances(4, 'old', 2)), view(), NOW)).toEqual({ kind: 'done' });
  });
});
