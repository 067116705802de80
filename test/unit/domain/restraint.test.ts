import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type Limits, leaveTo } from '../../../src/domain/restraint.ts';
import type { Rollout } from '../../../src/domain/rollout.ts';

const LIMITS: Limits = { repairs: 3, window: 60_000, backoff: 2000 };

type Past = Pick<Rollout, 'kind' | 'startedAt' | 'endedAt'>;

const repair = (startedAt: number, endedAt: number | null = startedAt + 1000): Past => ({
  kind: 'repair',
  startedAt,
  endedAt,
});

describe('another repair', () => {
  it('may begin at once where none was lately', () => {
    expect(leaveTo([], LIMITS, 0)).toEqual({ kind: 'go' });
    expect(leaveTo([repair(1000)], LIMITS, 100_000)).toEqual({ kind: 'go' });
  });

  it('waits twice as long after each one', () => {
    expect(leaveTo([repair(10_000)], LIMITS, 11_500)).toEqual({ kind: 'wait', until: 13_000 });
    expect(leaveTo([repair(20_000), repair(10_000)], LIMITS, 22_000)).toEqual({
      kind: 'wait',
      until: 25_000,
    });
    expect(leaveTo([repair(20_000), repair(10_000)], LIMITS, 25_000)).toEqual({ kind: 'go' });
  });

  it('is not begun where there were too many, and the reason says how many', () => {
    const past = [repair(30_000), repair(20_000), repair(10_000)];
    expect(leaveTo(past, LIMITS, 40_000)).toEqual({
      kind: 'stop',
      why: 'repaired 3 times within 1 min, and sick again',
    });
  });

  it('begins anew after what a person has begun', () => {
    const restart: Past = { kind: 'restart', startedAt: 35_000, endedAt: 36_000 };
    const past = [restart, repair(30_000), repair(20_000), repair(10_000)];
    expect(leaveTo(past, LIMITS, 40_000)).toEqual({ kind: 'go' });
  });

  it('never makes more than the limit in any window, whenever guests go wrong', () => {
    const gaps = fc.array(fc.integer({ min: 0, max: 30_000 }), { maxLength: 60 });
    fc.assert(
      fc.property(gaps, (sick) => {
        const began: Past[] = [];
        let now = 100_000;
        for (const gap of sick) {
          now += gap;
          if (leaveTo(began, LIMITS, now).kind === 'go') began.unshift(repair(now, now));
        }
        return began.every(
          ({ startedAt }) =>
            began.filter(
              (other) => other.startedAt <= startedAt && other.startedAt > startedAt - LIMITS.window,
            ).length <= LIMITS.repairs,
        );
      }),
    );
  });
});
