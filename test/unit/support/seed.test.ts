import { describe, expect, it } from 'vitest';
import { sampler, seed } from '../../support/seed.ts';

describe('a sampler', () => {
  it('chooses the same for the same seed, and something else for another', () => {
    const many = (from: number) => {
      const { below } = sampler(from);
      return Array.from({ length: 8 }, () => below(1000)).join();
    };
    expect(many(seed)).toBe(many(seed));
    expect(many(seed)).not.toBe(many(seed + 1));
  });

  it('takes each at most once, and no more than there are', () => {
    const all = [1, 2, 3, 4, 5];
    const { some } = sampler(seed);
    expect(new Set(some(all, 3)).size).toBe(3);
    expect(some(all, 9).sort()).toEqual(all);
    expect(all).toEqual([1, 2, 3, 4, 5]);
  });

  it('leaves no number out', () => {
    const { below } = sampler(seed);
    expect(new Set(Array.from({ length: 200 }, () => below(6))).size).toBe(6);
  });
});
