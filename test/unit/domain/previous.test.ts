import { describe, expect, it } from 'vitest';
import { previousOf } from '../../../src/domain/previous.ts';
import type { Rollout, RolloutKind } from '../../../src/domain/rollout.ts';
import { goalOf, revision, rollout } from '../../support/revisions.ts';

const stable = (...numbers: number[]) => numbers.map((number) => ({ ...revision(number), stableAt: number }));

/** Newest first: `[from, to]`, by a deploy unless it says something else. */
function history(
  ...moves: [from: number | null, to: number, kind?: RolloutKind, state?: Rollout['state']][]
) {
  return moves.map(([from, to, kind = 'rollout', state = 'succeeded'], at) => ({
    ...rollout(moves.length - at, goalOf(from, 1), goalOf(to, 1)),
    id: moves.length - at,
    kind,
    state,
  })) as Rollout[];
}

describe('what a service goes back to', () => {
  it('is what it served before, not a newer one that it was taken back from', () => {
    const moves = history([2, 4], [3, 2, 'rollback'], [2, 3], [1, 2], [null, 1]);
    expect(previousOf(4, stable(4, 3, 2, 1), moves)?.number).toBe(2);
  });

  it('is one further back each time', () => {
    const moves = history([4, 2, 'rollback'], [2, 4], [1, 2], [null, 1]);
    expect(previousOf(2, stable(4, 2, 1), moves)?.number).toBe(1);
    expect(previousOf(1, stable(4, 2, 1), moves)).toBeNull();
  });

  it('is not told by restarts, or by rollouts that came to nothing', () => {
    const moves = history([3, 3, 'restart'], [2, 3], [1, 3, 'rollout', 'rolled-back'], [1, 2]);
    expect(previousOf(3, stable(3, 2, 1), moves)?.number).toBe(2);
  });

  it('is the last stable one where nothing tells', () => {
    expect(previousOf(4, [...stable(4), revision(3), ...stable(2, 1)], [])?.number).toBe(2);
    expect(previousOf(4, stable(4, 2, 1), history([3, 4]))?.number).toBe(2);
    expect(previousOf(null, stable(1), [])).toBeNull();
  });
});
