import { describe, expect, it } from 'vitest';
import { type Holdings, needed } from '../../../src/domain/retention.ts';
import { revision } from '../../support/revisions.ts';

const CODE = 'uvwxyz';
/** Revisions 1 to 6 of one image, each with a volume of its own; newest first, all stable. */
const REVISIONS = [...CODE]
  .map((code, index) => ({ ...revision(index + 1, { code }), stableAt: index }))
  .reverse();
const volumeOf = (number: number) => CODE.charAt(number - 1).repeat(64);

function volumesKept(change: Partial<Holdings>): Record<number, string> {
  const holdings = { revisions: REVISIONS, keep: 2, goal: 6, previous: null, moving: [], ...change };
  const reasons = needed(holdings);
  return Object.fromEntries(
    REVISIONS.flatMap(({ number }) => {
      const reason = reasons.get(volumeOf(number));
      return reason === undefined ? [] : [[number, reason]];
    }),
  );
}

describe('the artifacts that must stay for a service', () => {
  it('are those of the last stable revisions, and of the one that is served', () => {
    expect(volumesKept({})).toEqual({ 6: 'site 6: served', 5: 'site 5: stable' });
    expect(Object.keys(volumesKept({ goal: 3 }))).toEqual(['3', '5', '6']);
  });

  it('are not those of a revision that never became stable', () => {
    const revisions = REVISIONS.map((each) => (each.number === 5 ? { ...each, stableAt: null } : each));
    expect(Object.keys(volumesKept({ revisions }))).toEqual(['4', '6']);
  });

  it('are those of what a rollback goes to, though others have become stable since', () => {
    expect(volumesKept({ previous: 2 })).toMatchObject({ 2: 'site 2: what a rollback goes to' });
  });

  it('are those of a rollout under way, wherever it is going', () => {
    expect(volumesKept({ moving: [6, 1] })).toMatchObject({ 1: 'site 1: of the rollout under way' });
  });

  it('are those of pinned revisions, however old', () => {
    const pinned = { by: 'ana', at: 0 };
    const revisions = REVISIONS.map((each) => (each.number === 1 ? { ...each, pinned } : each));
    expect(volumesKept({ revisions, goal: null, keep: 0 })).toEqual({ 1: 'site 1: pinned by ana' });
  });

  it('are told with the strongest reason, where revisions share them', () => {
    const image = 'a'.repeat(64);
    expect(needed({ revisions: REVISIONS, keep: 2, goal: 6, previous: null, moving: [] }).get(image)).toBe(
      'site 6: served',
    );
  });
});
