import { type Action, FULL_WEIGHT } from '../src/domain/action.ts';
import { bounds } from '../src/domain/policy.ts';
import { isAvailable, isReady, type ObservedInstance, type ObservedPool } from '../src/domain/pool.ts';
import { act, type Decision, done, type RolloutView, type Strategy, wait } from '../src/domain/strategy.ts';
import { isFit, isFresh, obstacle } from './failing.ts';
import { launchesOf, roll } from './rolling.ts';

/**
 * Puts one instance into the pool that goes on from a snapshot: it is launched beside the others, admitted once it is healthy and
 * proven, and then the one whose place it takes is drained and retired. Where there is no room for both, or two versions
 * must never run at once (`recreate`), that one goes first. Going back is rolling: what has gone boots again.
 */
export const restore: Strategy = {
  name: 'restore',
  next: (pool, rollout, now) =>
    rollout.direction === 'back' ? roll(pool, rollout, now) : bringBack(pool, rollout, now),
};

function bringBack(pool: ObservedPool, rollout: RolloutView, now: number): Decision {
  const stopped = obstacle(pool, rollout, now);
  if (stopped) return stopped;
  const restored = restoredIn(pool, rollout);
  const leaving = leave(pool, restored, rollout);
  const serves = restored !== undefined && restored.weight > 0 && isReady(restored, rollout.target);
  if (serves || mustGoFirst(pool, rollout)) {
    const actions = leaving.filter(({ acting }) => acting === null).map(departure);
    if (actions.length > 0) return act(...actions);
    const [left] = leaving;
    if (left) return wait(`${left.id} to leave`);
  }
  if (serves) return done;
  if (!restored) return act(...launchesOf(1, rollout));
  if (restored.acting === null && restored.weight === 0 && isFit(restored, rollout, now))
    return act({ kind: 'admit', instance: restored.id, weight: FULL_WEIGHT });
  return wait(`${restored.id} to be healthy and verified`);
}

/** The one that was launched. A controller that died meanwhile may have left two: the one that has come further counts. */
function restoredIn({ instances }: ObservedPool, rollout: RolloutView): ObservedInstance | undefined {
  const launched = instances.filter((i) => isFresh(i, rollout) && i.acting !== 'retire');
  return launched.sort((a, b) => usefulness(b, rollout) - usefulness(a, rollout))[0];
}

/**
 * Whose place it takes, what is dead or of another revision, and what would be above the replicas: the newest, for it may have
 * come in that one's place.
 */
function leave(
  { instances }: ObservedPool,
  restored: ObservedInstance | undefined,
  rollout: RolloutView,
): ObservedInstance[] {
  const others = instances.filter((i) => i !== restored);
  const isNamed = (i: ObservedInstance) =>
    i.id === rollout.replaces ||
    i.state === 'stopped' ||
    i.revision !== rollout.target ||
    isFresh(i, rollout);
  const stay = others.filter((i) => !isNamed(i));
  const excess = Math.max(0, stay.length - (rollout.replicas - 1));
  const last = [...stay].sort(
    (a, b) => usefulness(a, rollout) - usefulness(b, rollout) || b.launchedAt - a.launchedAt,
  );
  return [...others.filter(isNamed), ...last.slice(0, excess)];
}

function usefulness(instance: ObservedInstance, { target }: RolloutView): number {
  return (isReady(instance, target) ? 2 : 0) + (instance.weight > 0 ? 1 : 0);
}

function mustGoFirst(pool: ObservedPool, rollout: RolloutView): boolean {
  if (pool.instances.some((i) => isFresh(i, rollout))) return false;
  if (rollout.policy.strategy === 'recreate' || rollout.exclusive) return true;
  const alive = pool.instances.filter(({ state }) => state !== 'stopped').length;
  return alive >= rollout.replicas + bounds(rollout.policy, rollout.replicas).surge;
}

/** As long as the table has anybody, requests wait for the next one instead of being refused. */
function departure(instance: ObservedInstance): Action {
  const rests = isAvailable(instance) || instance.inFlight > 0;
  return { kind: rests ? 'drain' : 'retire', instance: instance.id };
}
