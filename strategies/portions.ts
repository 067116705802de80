import type { Action } from '../src/domain/action.ts';
import { isAvailable, type ObservedInstance } from '../src/domain/pool.ts';
import { shares } from '../src/domain/shares.ts';
import { act, type Decision, type RolloutView } from '../src/domain/strategy.ts';

/** The shift after which the new instances have `share` per cent of the requests; undefined where they have. */
export function distribution(
  share: number,
  fresh: ObservedInstance[],
  old: ObservedInstance[],
): Action | undefined {
  const weights = shares(share, fresh.length, old.length);
  const wanted = (instances: ObservedInstance[], weight: number) =>
    instances.filter((i) => i.weight !== weight).map(({ id }) => [id, weight]);
  const differing = [...wanted(fresh, weights.fresh), ...wanted(old, weights.old)];
  return differing.length > 0 ? { kind: 'shift', weights: Object.fromEntries(differing) } : undefined;
}

/**
 * On the way back: as much as the old revision's instances can carry without more for each than now, or than in a whole
 * pool; all of it where there are `enough` of them.
 */
export function giveBack(
  ready: ObservedInstance[],
  leaving: ObservedInstance[],
  enough: number,
  { replicas }: RolloutView,
): Decision | undefined {
  if (ready.length === 0 || leaving.length === 0) return undefined;
  const whole = Math.min(replicas, [...ready, ...leaving].filter(isAvailable).length);
  const has = shareOf(ready, leaving);
  const share = ready.length >= Math.min(enough, whole) ? 100 : Math.floor((100 * ready.length) / whole);
  if (share <= has && ready.every(({ weight }) => weight > 0)) return undefined;
  const moved = distribution(Math.max(share, has), ready, leaving);
  return moved && act(moved);
}

/** The per cent of the requests that these have and the others have not. */
function shareOf(these: ObservedInstance[], others: ObservedInstance[]): number {
  const sum = (instances: ObservedInstance[]) => instances.reduce((all, { weight }) => all + weight, 0);
  return Math.floor((100 * sum(these)) / Math.max(1, sum(these) + sum(others)));
}
