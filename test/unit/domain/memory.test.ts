import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { isStale, remember, type Sample, shortage } from '../../../src/domain/memory.ts';

const MIB = 2 ** 20;
const POLICY = { floor: 5, horizon: 30_000 };

/** One sample a second of a guest with 100 MiB, by what it has available, MiB. */
function samples(...available: number[]): readonly Sample[] {
  const all = available.map((each, at) => ({ available: each * MIB, total: 100 * MIB, at: at * 1000 }));
  return all.reduce<readonly Sample[]>(remember, []);
}

const falling = (from: number, by: number, count: number) =>
  Array.from({ length: count }, (_, n) => from - n * by);

describe('a guest runs out of memory', () => {
  it('when it would be under the floor within the horizon, and the sentence says by when', () => {
    expect(shortage(samples(...falling(40, 2, 8)), POLICY)).toBe(
      'is losing 2.0 MiB of memory a second, has 26 MiB left, and would run out in 11 s',
    );
  });

  it('when it has been under the floor for longer than a moment', () => {
    expect(shortage(samples(50, 50, 50, 40, 20, 4, 4, 4), POLICY)).toBe('has 4.0 MiB of 100 MiB memory left');
  });

  it.each<[string, number[]]>([
    ['it falls slowly', falling(60, 0.5, 20)],
    ['too little is known', falling(40, 5, 5)],
    ['it took what it needed at its start', [60, 50, 40, 35, 34, 34, 34, 34, 34, 34]],
    ['it goes up and down', [40, 30, 40, 30, 40, 30, 40, 30]],
    ['it was like that from the first', [4, 4, 4, 4, 4, 4, 4]],
    ['it grows', falling(30, -2, 10)],
  ])('not when %s', (_what, available) => {
    expect(shortage(samples(...available), POLICY)).toBeNull();
  });

  it('is said of no guest whose memory stays as it is, however much it trembles', () => {
    const trembling = fc.array(fc.double({ min: 48, max: 51, noNaN: true }), { minLength: 8, maxLength: 40 });
    fc.assert(fc.property(trembling, (available) => shortage(samples(...available), POLICY) === null));
  });

  it('is said of every guest that leaks, before it has nothing left', () => {
    const leaking = fc.record({
      rate: fc.double({ min: 0.5, max: 4, noNaN: true }),
      noise: fc.double({ min: 0, max: 0.2, noNaN: true }),
    });
    fc.assert(
      fc.property(leaking, ({ rate, noise }) => {
        const life = falling(60, rate, Math.floor(55 / rate)).map(
          (each, n) => each + (n % 2 ? noise : -noise),
        );
        return life.some((_, n) => shortage(samples(...life.slice(0, n + 1)), POLICY) !== null);
      }),
    );
  });
});

it('a sample that says nothing new is left out, and only the last are kept', () => {
  const once = samples(50);
  expect(remember(once, { available: 1, total: 1, at: 0 })).toBe(once);
  expect(remember(once, null)).toBe(once);
  expect(samples(...falling(90, 1, 50))).toHaveLength(20);
});

it('a guest that has told of its memory and does not any more is silent', () => {
  const sample = { available: 1, total: 2, at: 1000 };
  expect(isStale(sample, 8000, 5000)).toBe(true);
  expect(isStale(sample, 5000, 5000)).toBe(false);
  expect(isStale(null, 9_000_000, 5000)).toBe(false);
});
