import { describe, expect, it } from 'vitest';
import { answered, type Counted, countOn, outlier } from '../../../src/domain/outlier.ts';

const all = (...counts: [at: number, answers: number, errors: number][]) =>
  counts
    .map(([at, answers, errors]) => ({ at, answers, errors }))
    .reduce<readonly Counted[]>((past, now) => countOn(past, now, 3000), []);

describe('what was answered lately', () => {
  it('is what was counted since the window began', () => {
    expect(answered(all([0, 0, 0], [1000, 100, 0], [2000, 200, 0], [5000, 260, 30]))).toEqual({
      answers: 60,
      errors: 30,
    });
  });

  it('begins anew with the counters', () => {
    expect(answered(all([0, 500, 0], [1000, 10, 0], [2000, 30, 5]))).toEqual({ answers: 20, errors: 5 });
  });

  it('is nothing where nothing was counted', () => {
    expect(answered([])).toEqual({ answers: 0, errors: 0 });
  });
});

describe('an instance that answers worse than the others', () => {
  const good = { answers: 40, errors: 0 };

  it('is told of with the figures of both', () => {
    expect(outlier({ answers: 20, errors: 15 }, [good, good], 50)).toBe(
      'answers with errors: 15 of 20 of the last requests, the others 0 of 80',
    );
  });

  it.each([
    ['it errs less than the share', { answers: 20, errors: 9 }, good],
    [
      'the others err, too: it is the code, or what is asked for',
      { answers: 20, errors: 20 },
      { answers: 40, errors: 5 },
    ],
    ['it has answered too little', { answers: 9, errors: 9 }, good],
    ['the others have', { answers: 20, errors: 20 }, { answers: 9, errors: 0 }],
  ])('is none where %s', (_what, own, others) => {
    expect(outlier(own, [others], 50)).toBeNull();
  });
});
