import type { Revision } from './revision.ts';
import { isByConfig, type Rollout } from './rollout.ts';

/** Rollouts, newest first, that are looked through for the one that brought what a service serves. */
export const LOOKED_THROUGH = 1000;

/**
 * What a service goes back to: what it served when the present revision was rolled out. A revision that was gone back from
 * is none of that, though it was stable once and is newer. Where nothing tells, the last stable one before it.
 *
 * @param revisions newest first
 * @param rollouts newest first
 */
export function previousOf(
  current: number | null,
  revisions: readonly Revision[],
  rollouts: readonly Rollout[],
): Revision | null {
  const stable = revisions.filter(({ stableAt }) => stableAt !== null);
  const brought = rollouts.find(
    ({ kind, state, from, to }) =>
      isByConfig(kind) && state === 'succeeded' && to.revision === current && from.revision !== current,
  );
  const served = stable.find(({ number }) => number === brought?.from.revision);
  return served ?? stable.find(({ number }) => number < (current ?? 0)) ?? null;
}
