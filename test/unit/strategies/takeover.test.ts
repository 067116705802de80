import { describe, expect, it } from 'vitest';
import { act } from '../../../src/domain/strategy.ts';
import { blueGreen } from '../../../strategies/blue-green.ts';
import { canary } from '../../../strategies/canary.ts';
import { rolling } from '../../../strategies/rolling.ts';
import { volumeSwap } from '../../../strategies/volume-swap.ts';
import { instance, instances, pool, view } from '../../support/pools.ts';

const NOW = 5000;
const third = view({ target: 3 });
const shift = (weights: Record<string, number>) => act({ kind: 'shift', weights });

/** What a canary of revision 2 has left, one instance beside a whole old pool. */
const abandoned = [
  ...instances(4, 'old', 1).map((one) => ({ ...one, weight: 9 })),
  instance('middle', 2, { weight: 4 }),
];

describe('a rollout that took over from another', () => {
  it.each([rolling, canary, blueGreen])(
    'takes the requests from what was abandoned first: $name',
    (strategy) => {
      expect(strategy.next(pool(...abandoned), third, NOW)).toEqual(shift({ middle: 0 }));
    },
  );

  it('leaves them where the others could not carry them, and then drains the abandoned ones first', () => {
    const half = [...instances(2, 'old', 1), ...instances(2, 'middle', 2)];
    expect(rolling.next(pool(...half), third, NOW)).toEqual(act({ kind: 'launch', instance: 'new-1' }));
    const more = pool(...half, instance('new-1', 3, { launchedAt: 2000 }));
    expect(rolling.next(more, third, NOW)).toEqual(act({ kind: 'drain', instance: 'middle-1' }));
  });

  it('rolls and swaps from equal shares: no new instance gets nearly all requests', () => {
    const uneven = instances(4, 'old', 1).map((one) => ({ ...one, weight: 9 }));
    const even = shift({ 'old-1': 100, 'old-2': 100, 'old-3': 100, 'old-4': 100 });
    expect(rolling.next(pool(...uneven), third, NOW)).toEqual(even);
    expect(volumeSwap.next(pool(...uneven), { ...third, change: 'volumes' }, NOW)).toEqual(even);
  });

  it('retires what has no requests any more before a whole new pool is launched', () => {
    const idle = instance('middle', 2, { weight: 0 });
    expect(blueGreen.next(pool(...instances(4, 'old', 1), idle), third, NOW)).toEqual(
      act({ kind: 'retire', instance: 'middle' }),
    );
  });
});

describe('guests of another image', () => {
  const stranger = instance('warm', null, { weight: 0, swappable: false });

  it('are not swapped, but replaced once the others were', () => {
    const volumes = view({ change: 'volumes', swap: 'replace', replicas: 1 });
    expect(volumeSwap.next(pool(stranger, instance('old-1', 1)), volumes, NOW)).toEqual(
      act({ kind: 'swapVolume', instance: 'old-1', mode: 'replace', hold: true }),
    );
    expect(volumeSwap.next(pool(stranger, instance('old-1', 2)), volumes, NOW)).toEqual(
      act({ kind: 'retire', instance: 'warm' }),
    );
  });

  it('are no part of a canary over volumes', () => {
    const volumes = view({ change: 'volumes' });
    expect(canary.next(pool(stranger, ...instances(4, 'old', 1)), volumes, NOW)).toEqual(
      act({ kind: 'drain', instance: 'old-1' }),
    );
  });
});
