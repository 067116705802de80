import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { parallelism, type Swapped } from '../../../src/domain/pace.ts';

/** What is chosen in the end on a machine on which so many swaps beside each other take so long each. */
function settled(ms: (beside: number) => number): number {
  const swapped: Swapped[] = [];
  for (let n = 0; n < 300; n++) {
    const beside = parallelism(swapped);
    swapped.push({ beside, ms: ms(beside) });
  }
  return parallelism(swapped);
}

describe('how many guests are swapped at once', () => {
  it('are four at first', () => {
    expect(parallelism([])).toBe(4);
    expect(parallelism([{ beside: 4, ms: 100 }])).toBe(4);
  });

  it('are no more where more at once only make each slower', () => {
    expect(settled((beside) => 50 * beside)).toBe(4);
  });

  it('are as many as the processors get done beside each other', () => {
    const processors = (count: number) => (beside: number) => 100 * Math.max(1, beside / count);
    expect([2, 5, 8, 12].map((count) => settled(processors(count)))).toEqual([4, 6, 9, 14]);
  });

  it('are never more than sixteen', () => {
    expect(settled(() => 100)).toBe(16);
    const some = fc.array(fc.record({ beside: fc.nat(40), ms: fc.nat(5000) }));
    fc.assert(
      fc.property(some, (swapped) => {
        const width = parallelism(swapped);
        expect(width >= 4 && width <= 16).toBe(true);
      }),
    );
  });

  it('are not judged by swaps that began when there were fewer', () => {
    const wide = Array.from({ length: 4 }, () => ({ beside: 4, ms: 100 }));
    expect(parallelism([...wide, ...wide, ...wide, ...wide])).toBe(6);
  });
});
