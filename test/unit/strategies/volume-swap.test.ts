import { describe, expect, it } from 'vitest';
import { volumeSwap } from '../../../strategies/volume-swap.ts';
import { instance, instances, pool, view } from '../../support/pools.ts';
import { POLICY } from '../../support/revisions.ts';

const NOW = 5000;
const inTurn = view({ swap: 'replace' });

describe('volume-swap', () => {
  it('swaps guests that hold two volumes in place, as many at once as it may', () => {
    const swap = (id: string) => ({ kind: 'swapVolume', instance: id, mode: 'overlap', hold: false });
    const old = instances(4, 'old', 1);
    expect(volumeSwap.next(pool(...old), view(), NOW)).toEqual({
      kind: 'act',
      actions: [swap('old-1'), swap('old-2')],
    });
    const [first, ...others] = old;
    const begun = pool({ ...(first ?? instance('old-1', 1)), acting: 'swapVolume' }, ...others);
    expect(volumeSwap.next(begun, view(), NOW)).toEqual({ kind: 'act', actions: [swap('old-2')] });
  });

  it('takes a guest that holds one volume out of the pool first, one at a time', () => {
    expect(volumeSwap.next(pool(...instances(4, 'old', 1)), inTurn, NOW)).toEqual({
      kind: 'act',
      actions: [{ kind: 'drain', instance: 'old-1' }],
    });
    const drained = pool(instance('old-1', 1, { weight: 0 }), ...instances(4, 'old', 1).slice(1));
    expect(volumeSwap.next(drained, inTurn, NOW)).toEqual({
      kind: 'act',
      actions: [{ kind: 'swapVolume', instance: 'old-1', mode: 'replace', hold: false }],
    });
    const swapped = pool(instance('old-1', 2, { weight: 0 }), ...instances(4, 'old', 1).slice(1));
    expect(volumeSwap.next(swapped, inTurn, NOW)).toEqual({
      kind: 'act',
      actions: [{ kind: 'admit', instance: 'old-1', weight: 100 }],
    });
  });

  it('lets guests settle with the new volume, in their place or out of traffic, before they count', () => {
    const policy = { ...POLICY, parallel: 1, minHealthy: 3000 };
    const settling = instance('old-1', 2, { healthySince: 4000 });
    const others = instances(4, 'old', 1).slice(1);
    const inPlace = view({ policy });
    expect(volumeSwap.next(pool(settling, ...others), inPlace, 6999).kind).toBe('wait');
    expect(volumeSwap.next(pool(settling, ...others), inPlace, 7000)).toMatchObject({
      actions: [{ kind: 'swapVolume', instance: 'old-2' }],
    });
    const aside = pool({ ...settling, weight: 0 }, ...others);
    expect(volumeSwap.next(aside, { ...inTurn, policy }, 6999).kind).toBe('wait');
    expect(volumeSwap.next(aside, { ...inTurn, policy }, 7000)).toMatchObject({
      actions: [{ kind: 'admit', instance: 'old-1' }],
    });
  });

  it('holds requests while the only guest, which can hold one volume, is swapped', () => {
    const decision = volumeSwap.next(pool(...instances(1, 'old', 1)), { ...inTurn, replicas: 1 }, NOW);
    expect(decision).toEqual({
      kind: 'act',
      actions: [{ kind: 'swapVolume', instance: 'old-1', mode: 'replace', hold: true }],
    });
  });

  it('finishes a swap that was cut short, whatever the guest answers', () => {
    const half = instance('old-1', null, { health: 'unhealthy', verified: false });
    expect(volumeSwap.next(pool(half, ...instances(3, 'new', 2)), view(), NOW)).toMatchObject({
      actions: [{ kind: 'swapVolume', instance: 'old-1' }],
    });
  });

  it('replaces a guest, on the way back, that has not let go of the old volume when it got the new one', () => {
    const both = instance('old-1', null, { burdened: true });
    const others = instances(3, 'new', 2);
    expect(volumeSwap.next(pool(both, ...others), view({ direction: 'back' }), NOW)).toEqual({
      kind: 'act',
      actions: [{ kind: 'launch', instance: 'new-1' }],
    });
    expect(volumeSwap.next(pool(both, ...others), view(), NOW)).toMatchObject({
      actions: [{ kind: 'swapVolume', instance: 'old-1' }],
    });
  });

  it('leaves guests that do not answer to be replaced, after the others were swapped', () => {
    const hung = instance('old-1', 1, { health: 'unhealthy' });
    const decision = volumeSwap.next(pool(hung, ...instances(3, 'new', 2)), view(), NOW);
    expect(decision).toEqual({
      kind: 'act',
      actions: [
        { kind: 'drain', instance: 'old-1' },
        { kind: 'launch', instance: 'new-1' },
      ],
    });
  });

  it('is done when every guest proves the target', () => {
    expect(volumeSwap.next(pool(...instances(4, 'old', 2)), view(), NOW)).toEqual({ kind: 'done' });
  });
});
