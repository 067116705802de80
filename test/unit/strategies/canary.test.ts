import { describe, expect, it } from 'vitest';
import type { Action } from '../../../src/domain/action.ts';
import { bakeGate, hookGate } from '../../../src/domain/gate.ts';
import type { ObservedInstance } from '../../../src/domain/pool.ts';
import { act, done, stand, wait } from '../../../src/domain/strategy.ts';
import { canary } from '../../../strategies/canary.ts';
import { instance, instances, pool, view } from '../../support/pools.ts';
import { POLICY } from '../../support/revisions.ts';

const NOW = 5000;
const policy = {
  ...POLICY,
  steps: [
    { weight: 10, pause: 1000, analysis: true },
    { weight: 50, pause: null, analysis: false },
  ],
};
const first = { key: '10 per cent', wait: 1000, hooks: null, analysed: true };
const second = { key: '50 per cent', wait: null, hooks: null, analysed: false };
const passed = view().passed;
const images = view({ policy });
const volumes = view({ policy, change: 'volumes' });

function fresh(count: number, changes: Partial<ObservedInstance>): ObservedInstance[] {
  return instances(count, 'new', 2).map((one) => ({ ...one, launchedAt: 2000, ...changes }));
}

const weigh = (kinds: Record<string, number>) => act({ kind: 'shift', weights: kinds });
const swap = (id: string): Action => ({ kind: 'swapVolume', instance: id, mode: 'overlap', hold: false });

describe('canary over images', () => {
  it('launches as many as the step wants, beside a whole old pool', () => {
    const launch = act({ kind: 'launch', instance: 'new-1' });
    expect(canary.next(pool(...instances(4, 'old', 1)), images, NOW)).toEqual(launch);
  });

  it('puts them in the table before they have a share, then gives them that of the step with one table', () => {
    const old = instances(4, 'old', 1);
    const ready = fresh(1, { weight: 0, routed: false });
    expect(canary.next(pool(...old, ...ready), images, NOW)).toEqual(
      act({ kind: 'admit', instance: 'new-1', weight: 0 }),
    );
    const routed = fresh(1, { weight: 0 });
    expect(canary.next(pool(...old, ...routed), images, NOW)).toEqual(
      weigh({ 'new-1': 4, 'old-1': 9, 'old-2': 9, 'old-3': 9, 'old-4': 9 }),
    );
  });

  it('stands at the gate of the step, and before its first share at the hooks of the cutover', () => {
    const old = instances(4, 'old', 1).map((one) => ({ ...one, weight: 9 }));
    expect(canary.next(pool(...old, ...fresh(1, { weight: 4 })), images, NOW)).toEqual(stand(first));
    const whole = pool(...instances(4, 'old', 1), ...fresh(1, { weight: 0 }));
    expect(canary.next(whole, view({ policy, passed: {} }), NOW)).toEqual(stand(hookGate('pre-cutover')));
  });

  it('goes on from step to step as the gates are passed, and then gives everything to a whole new pool', () => {
    const old = instances(4, 'old', 1).map((one) => ({ ...one, weight: 9 }));
    const atSecond = view({ policy, passed: { ...passed, [first.key]: 1 } });
    expect(canary.next(pool(...old, ...fresh(1, { weight: 4 })), atSecond, NOW)).toEqual(
      act({ kind: 'launch', instance: 'new-1' }),
    );
    const half = instances(4, 'old', 1).map((one) => ({ ...one, weight: 1 }));
    expect(canary.next(pool(...half, ...fresh(2, { weight: 2 })), atSecond, NOW)).toEqual(stand(second));
    const through = view({ policy, passed: { ...passed, [first.key]: 1, [second.key]: 2 } });
    const all = pool(...half, ...fresh(2, { weight: 2 }), ...fresh(4, { weight: 0 }).slice(2));
    expect(canary.next(all, through, NOW)).toEqual(
      weigh({
        'new-1': 100,
        'new-2': 100,
        'new-3': 100,
        'new-4': 100,
        'old-1': 0,
        'old-2': 0,
        'old-3': 0,
        'old-4': 0,
      }),
    );
  });

  it('lets the old ones go when the new ones have baked, or leaves them warm', () => {
    const idle = instances(4, 'old', 1).map((one) => ({ ...one, weight: 0 }));
    const moved = pool(...idle, ...fresh(4, {}));
    const baking = view({ policy, passed: { 'pre-cutover': 0, 'post-cutover': 0 } });
    expect(canary.next(moved, baking, NOW)).toEqual(stand(bakeGate(0)));
    expect(canary.next(moved, images, NOW)).toEqual(
      act(...idle.map(({ id }): Action => ({ kind: 'retire', instance: id }))),
    );
    expect(canary.next(moved, view({ policy: { ...policy, warm: 1 } }), NOW)).toEqual(done);
  });

  it('goes back with one table, at once, where the old pool is whole', () => {
    const back = { ...images, target: 1, direction: 'back' as const, since: 4000, passed: {} };
    const old = instances(4, 'old', 1).map((one) => ({ ...one, weight: 9 }));
    expect(canary.next(pool(...old, ...fresh(1, { weight: 4 })), back, NOW)).toEqual(
      weigh({ 'new-1': 0, 'old-1': 100, 'old-2': 100, 'old-3': 100, 'old-4': 100 }),
    );
  });

  it('gives back no more than a shrunken old pool can carry', () => {
    const back = { ...images, target: 1, direction: 'back' as const, since: 4000, passed: {} };
    const left = instance('old-1', 1, { weight: 0 });
    const decision = canary.next(pool(left, ...fresh(4, {})), back, NOW);
    expect(decision).toEqual(
      act(...[1, 2, 3].map((n): Action => ({ kind: 'launch', instance: `new-${n}` }))),
    );
    const booting = ['b', 'c', 'd'].map((id) =>
      instance(id, 1, { launchedAt: 4500, weight: 0, routed: false, health: 'unhealthy', verified: false }),
    );
    expect(canary.next(pool(left, ...fresh(4, {}), ...booting), back, NOW)).toEqual(
      weigh({ 'old-1': 4, 'new-1': 3, 'new-2': 3, 'new-3': 3, 'new-4': 3 }),
    );
  });
});

describe('canary over code volumes', () => {
  it('takes a guest out of traffic, and swaps its volume when nothing is in flight there', () => {
    const [one, ...others] = instances(4, 'old', 1);
    expect(canary.next(pool(...instances(4, 'old', 1)), volumes, NOW)).toEqual(
      act({ kind: 'drain', instance: 'old-1' }),
    );
    const busy = { ...(one ?? instance('old-1', 1)), weight: 0, inFlight: 3, acting: 'drain' as const };
    expect(canary.next(pool(busy, ...others), volumes, NOW)).toEqual(wait('the swaps under way'));
    expect(canary.next(pool({ ...busy, inFlight: 0, acting: null }, ...others), volumes, NOW)).toEqual(
      act(swap('old-1')),
    );
  });

  it('has those that are swapped serve, with their part, before the next ones leave the traffic', () => {
    const atSecond = view({ policy, change: 'volumes', passed: { ...passed, [first.key]: 1 } });
    const swapping = instance('old-1', 2, { weight: 0, acting: 'swapVolume' });
    const others = instances(4, 'old', 1).slice(1);
    expect(canary.next(pool(swapping, ...others), atSecond, NOW)).toEqual(wait('the swaps under way'));
    const swapped = instance('old-1', 2, { weight: 0 });
    expect(canary.next(pool(swapped, ...others), atSecond, NOW)).toEqual(
      weigh({ 'old-1': 1, 'old-2': 1, 'old-3': 1, 'old-4': 1 }),
    );
    expect(canary.next(pool({ ...swapped, weight: 100 }, ...others), atSecond, NOW)).toEqual(
      act({ kind: 'drain', instance: 'old-2' }),
    );
  });

  it('stands at the step with its exact share', () => {
    const swapped = instance('old-1', 2, { weight: 0 });
    const others = instances(4, 'old', 1).slice(1);
    expect(canary.next(pool(swapped, ...others), volumes, NOW)).toEqual(
      weigh({ 'old-1': 1, 'old-2': 3, 'old-3': 3, 'old-4': 3 }),
    );
    const shared = others.map((one) => ({ ...one, weight: 3 }));
    expect(canary.next(pool({ ...swapped, weight: 1 }, ...shared), volumes, NOW)).toEqual(stand(first));
  });

  it('swaps the rest one after the other where guests hold one volume, without a stand while one is aside', () => {
    const passedAll = { 'pre-cutover': 0, [first.key]: 1, [second.key]: 2 };
    const through = view({ policy, change: 'volumes', swap: 'replace', passed: passedAll });
    const last = instance('old-1', 1, { weight: 0 });
    expect(canary.next(pool(...instances(3, 'new', 2), last), through, NOW)).toEqual(
      act({ kind: 'swapVolume', instance: 'old-1', mode: 'replace', hold: false }),
    );
  });

  it('goes back at once when one guest has the new volume, and otherwise as guests have the old one again', () => {
    const back = { ...volumes, target: 1, direction: 'back' as const, since: 4000, passed: {} };
    const one = [
      instance('new-1', 2, { weight: 1 }),
      ...instances(3, 'old', 1).map((i) => ({ ...i, weight: 3 })),
    ];
    expect(canary.next(pool(...one), back, NOW)).toEqual(
      weigh({ 'new-1': 0, 'old-1': 100, 'old-2': 100, 'old-3': 100 }),
    );
    const half = pool(...instances(2, 'new', 2), ...instances(2, 'old', 1));
    expect(canary.next(half, { ...back, swap: 'replace' }, NOW)).toEqual(
      act({ kind: 'drain', instance: 'new-1' }),
    );
  });

  it('swaps the rest in place after the last step, every guest with an equal share', () => {
    const through = view({
      policy,
      change: 'volumes',
      passed: { ...passed, [first.key]: 1, [second.key]: 2 },
    });
    const shared = [
      ...instances(2, 'new', 2).map((one) => ({ ...one, weight: 3 })),
      ...instances(2, 'old', 1).map((one) => ({ ...one, weight: 5 })),
    ];
    expect(canary.next(pool(...shared), through, NOW)).toEqual(
      weigh({ 'new-1': 100, 'new-2': 100, 'old-1': 100, 'old-2': 100 }),
    );
    const even = pool(...instances(2, 'new', 2), ...instances(2, 'old', 1));
    expect(canary.next(even, through, NOW)).toEqual(act(swap('old-1'), swap('old-2')));
    expect(canary.next(pool(...instances(4, 'old', 2)), through, NOW)).toEqual(done);
  });
});
