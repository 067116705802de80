import { randomInt } from 'node:crypto';

/**
 * What every choice of a test begins with. The same in every run: a change is judged by what it changes. Others are looked
 * for on purpose, with UNIDEPLOY_SEED=random, or UNIDEPLOY_SEED=N for the number that a failure has told.
 */
export const seed: number = chosen(process.env.UNIDEPLOY_SEED ?? '1');

/** Choices that depend on a seed alone. */
export interface Sampler {
  /** a whole number from 0 to `n` - 1 */
  below(n: number): number;
  /** so many of them, each at most once, in an order of its own */
  some<T>(from: readonly T[], count: number): T[];
}

/** mulberry32: 32 bits of state, which is plenty for tests, and the same numbers everywhere. */
export function sampler(from: number): Sampler {
  let state = from >>> 0;
  const next = (): number => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
  const below = (n: number) => Math.floor(next() * n);
  return {
    below,
    some: (all, count) => {
      const left = [...all];
      return Array.from({ length: Math.min(count, left.length) }, () =>
        left.splice(below(left.length), 1),
      ).flat();
    },
  };
}

function chosen(asked: string): number {
  const number = asked === 'random' ? randomInt(2 ** 31) : Number(asked);
  if (!Number.isInteger(number)) throw new Error(`UNIDEPLOY_SEED is a number or "random", not "${asked}"`);
  if (asked === 'random') process.stderr.write(`UNIDEPLOY_SEED=${number}\n`);
  return number;
}
