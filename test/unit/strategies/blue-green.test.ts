import { describe, expect, it } from 'vitest';
import type { Action } from '../../../src/domain/action.ts';
import { bakeGate, hookGate } from '../../../src/domain/gate.ts';
import type { ObservedInstance } from '../../../src/domain/pool.ts';
import { act, done, stand, wait } from '../../../src/domain/strategy.ts';
import { blueGreen } from '../../../strategies/blue-green.ts';
import { instance, instances, pool, view } from '../../support/pools.ts';
import { POLICY } from '../../support/revisions.ts';

const NOW = 5000;
const policy = { ...POLICY, promotion: null };
const promotion = { key: 'promotion', wait: null, hooks: null, analysed: false };
const { passed } = view();
const promoted = { ...passed, promotion: 0 };
const before = view({ policy, passed });
const after = view({ policy, passed: promoted });

const blue = (weight = 100) => instances(4, 'blue', 1).map((one) => ({ ...one, weight }));
const green = (changes: Partial<ObservedInstance> = {}) =>
  instances(4, 'green', 2).map((one) => ({ ...one, launchedAt: 2000, weight: 0, ...changes }));
const each = (names: string[], weight: number) => Object.fromEntries(names.map((name) => [name, weight]));
const four = (name: string) => [1, 2, 3, 4].map((n) => `${name}-${n}`);
const shift = (weights: Record<string, number>) => act({ kind: 'shift', weights });

describe('blue-green over images', () => {
  it('launches a whole green pool beside a whole blue one', () => {
    expect(blueGreen.next(pool(...blue()), before, NOW)).toEqual(
      act(...four('new').map((id): Action => ({ kind: 'launch', instance: id }))),
    );
  });

  it('puts green instances where preview requests reach them, without a share', () => {
    expect(blueGreen.next(pool(...blue(), ...green({ routed: false })), before, NOW)).toEqual(
      act(...four('green').map((id): Action => ({ kind: 'admit', instance: id, weight: 0 }))),
    );
  });

  it('stands at the gate of the promotion when all of green is fit, and not before', () => {
    expect(blueGreen.next(pool(...blue(), ...green()), before, NOW)).toEqual(stand(promotion));
    const [first, ...others] = green();
    const booting = { ...(first ?? instance('green-1', 2)), health: 'unhealthy' as const };
    expect(blueGreen.next(pool(...blue(), booting, ...others), before, NOW)).toEqual(
      wait('1 new instances to be healthy and verified'),
    );
  });

  it('moves all requests with one table, after the hooks of the cutover', () => {
    const hooked = view({ policy, passed: { promotion: 0 } });
    expect(blueGreen.next(pool(...blue(), ...green()), hooked, NOW)).toEqual(stand(hookGate('pre-cutover')));
    expect(blueGreen.next(pool(...blue(), ...green()), after, NOW)).toEqual(
      shift({ ...each(four('green'), 100), ...each(four('blue'), 0) }),
    );
  });

  it('never cuts over while a green instance is not healthy, promoted or not', () => {
    const [first, ...others] = green();
    const sick = { ...(first ?? instance('green-1', 2)), health: 'unhealthy' as const };
    expect(blueGreen.next(pool(...blue(), sick, ...others), after, NOW).kind).toBe('wait');
  });

  it('keeps blue through the bake time, and leaves it warm or lets it go afterwards', () => {
    const moved = pool(...blue(0), ...green({ weight: 100 }));
    const baking = view({ policy, passed: { 'pre-cutover': 0, 'post-cutover': 0, promotion: 0 } });
    expect(blueGreen.next(moved, baking, NOW)).toEqual(stand(bakeGate(0)));
    expect(blueGreen.next(moved, view({ policy: { ...policy, warm: 1000 } }), NOW)).toEqual(done);
    expect(blueGreen.next(moved, after, NOW)).toEqual(
      act(...four('blue').map((id): Action => ({ kind: 'retire', instance: id }))),
    );
  });

  it('keeps those warm that live, though one of them has died', () => {
    const kept = view({ policy: { ...policy, warm: 1000 } });
    const [one, ...others] = blue(0);
    const dead = { ...(one ?? instance('blue-1', 1)), state: 'stopped' as const };
    expect(blueGreen.next(pool(dead, ...others, ...green({ weight: 100 })), kept, NOW)).toEqual(
      act({ kind: 'retire', instance: 'blue-1' }),
    );
    expect(blueGreen.next(pool(...others, ...green({ weight: 100 })), kept, NOW)).toEqual(done);
  });

  it('leaves nothing warm after a restart: the old instances are of the very revision that serves', () => {
    const renewed = view({ policy: { ...policy, warm: 1000 }, change: 'none', from: 2, renew: 1000 });
    const old = instances(4, 'blue', 2).map((one) => ({ ...one, weight: 0 }));
    expect(blueGreen.next(pool(...old, ...green({ weight: 100 })), renewed, NOW)).toEqual(
      act(...four('blue').map((id): Action => ({ kind: 'retire', instance: id }))),
    );
  });

  it('switches back with one table when a green one fails in the bake time', () => {
    const moved = [...blue(0), ...green({ weight: 100, health: 'unhealthy' })];
    const baking = view({ policy, passed: { 'pre-cutover': 0, promotion: 0 } });
    expect(blueGreen.next(pool(...moved), baking, NOW)).toMatchObject({ kind: 'fail', instance: 'green-1' });
    const back = view({ policy, target: 1, direction: 'back', since: 4000, passed: {} });
    expect(blueGreen.next(pool(...moved), back, NOW)).toEqual(
      shift({ ...each(four('blue'), 100), ...each(four('green'), 0) }),
    );
  });
});

describe('blue-green over code volumes', () => {
  const volumes = view({ policy, change: 'volumes' });
  const cut = view({ policy, change: 'volumes', passed: promoted });
  const swapped = (count: number, weight: number) =>
    instances(count, 'green', 2).map((one) => ({ ...one, weight }));

  it('takes one guest after the other aside, until half of them have the new volume', () => {
    const drain = (id: string) => act({ kind: 'drain', instance: id });
    expect(blueGreen.next(pool(...blue()), volumes, NOW)).toEqual(drain('blue-1'));
    const one = [...swapped(1, 0), ...blue().slice(1)];
    expect(blueGreen.next(pool(...one), volumes, NOW)).toEqual(drain('blue-2'));
    const half = [...swapped(2, 0), ...blue().slice(2)];
    expect(blueGreen.next(pool(...half), volumes, NOW)).toEqual(stand(promotion));
  });

  it('cuts over from half to half, and swaps the idle half after the bake time', () => {
    const half = [...swapped(2, 0), ...blue().slice(2)];
    expect(blueGreen.next(pool(...half), cut, NOW)).toEqual(
      shift({ 'green-1': 100, 'green-2': 100, 'blue-3': 0, 'blue-4': 0 }),
    );
    const moved = [...swapped(2, 100), ...blue(0).slice(2)];
    const baking = view({ policy, change: 'volumes', passed: { 'post-cutover': 0, promotion: 0 } });
    expect(blueGreen.next(pool(...moved), baking, NOW)).toEqual(stand(bakeGate(0)));
    expect(blueGreen.next(pool(...moved), cut, NOW)).toMatchObject({
      actions: [
        { kind: 'swapVolume', instance: 'blue-3' },
        { kind: 'swapVolume', instance: 'blue-4' },
      ],
    });
  });

  it('goes back with one table while the idle half still has the old volume', () => {
    const back = view({ policy, change: 'volumes', target: 1, direction: 'back', passed: {} });
    const moved = [...swapped(2, 100), ...blue(0).slice(2)];
    expect(blueGreen.next(pool(...moved), back, NOW)).toEqual(
      shift({ 'green-1': 0, 'green-2': 0, 'blue-3': 100, 'blue-4': 100 }),
    );
  });

  it('goes back no faster than guests have the old volume again, those without requests first', () => {
    const back = view({ policy, change: 'volumes', target: 1, direction: 'back', passed: {} });
    const left = [
      ...instances(2, 'busy', 2),
      instance('idle', 2, { weight: 0 }),
      instance('ready', 1, { weight: 0 }),
    ];
    const three = [...instances(3, 'busy', 2), ...left.slice(2), instance('half', 2, { weight: 0 })];
    expect(blueGreen.next(pool(...three), { ...back, replicas: 6 }, NOW)).toEqual(
      shift({ ready: 99, 'busy-1': 67, 'busy-2': 67, 'busy-3': 67 }),
    );
    const given = three.map((one) => ({ ...one, weight: one.id === 'ready' ? 99 : one.weight && 67 }));
    expect(blueGreen.next(pool(...given), { ...back, replicas: 6 }, NOW)).toMatchObject({
      actions: [
        { kind: 'swapVolume', instance: 'idle' },
        { kind: 'swapVolume', instance: 'half' },
      ],
    });
  });
});
