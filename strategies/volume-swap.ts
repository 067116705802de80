import { type Action, FULL_WEIGHT } from '../src/domain/action.ts';
import { hookGate } from '../src/domain/gate.ts';
import { parallelism } from '../src/domain/pace.ts';
import { bounds } from '../src/domain/policy.ts';
import {
  isAvailable,
  isReady,
  type ObservedInstance,
  type ObservedPool,
  staysAvailable,
} from '../src/domain/pool.ts';
import {
  act,
  type Decision,
  fail,
  type RolloutView,
  type Strategy,
  shut,
  stand,
  wait,
} from '../src/domain/strategy.ts';
import { isFit, turnedBad } from './failing.ts';
import { roll } from './rolling.ts';
import { abandon, evenOut } from './takeover.ts';

/**
 * Leaves the guests running and exchanges their code volumes.
 *
 * - `overlap` guests hold old and new at once: they are swapped in place, `parallel` at a time, and never leave the pool.
 * - `replace` guests hold one: each is drained, swapped and readmitted; a single one is swapped while requests are held.
 *
 * Guests that cannot be swapped (dead, unhealthy, or, on the way back, with a volume they do not let go of) and missing replicas are left to `rolling`, once the others are through.
 */
export const volumeSwap: Strategy = {
  name: 'volume-swap',
  next: (pool, rollout, now) => abandon(pool, rollout) ?? evenOut(pool.instances) ?? swap(pool, rollout, now),
};

/** The swaps by themselves, for strategies that give shares of their own meanwhile. */
export function swap(pool: ObservedPool, rollout: RolloutView, now: number): Decision {
  const unread = pool.instances.some(
    (i) => i.state === 'running' && i.health === 'unknown' && i.revision !== null,
  );
  const outdated = pool.instances.filter((i) => isSwappable(i, rollout));
  if (outdated.length === 0) return roll(pool, rollout, now);
  if (unread) return wait('the first answers');
  const bad = pool.instances.find((i) => turnedBad(i, rollout));
  if (bad) return fail(bad.id, 'served the new volume and became unhealthy');
  const gate = shut(rollout, hookGate('pre-cutover'));
  if (gate) return stand(gate);
  const actions =
    rollout.swap === 'overlap'
      ? swapInPlace(pool, outdated, rollout, now)
      : swapInTurn(pool, outdated, rollout, now);
  return actions.length > 0 ? act(...actions) : wait('the swaps under way');
}

/**
 * Half-swapped guests are finished whatever their health: the half swap may be the cause. On the way back one that still
 * has both volumes is replaced: it did not let go of the old one, and it may yet, for that request cannot be taken back.
 */
function isSwappable(instance: ObservedInstance, rollout: RolloutView): boolean {
  if (rollout.direction === 'back' && instance.burdened && instance.acting === null) return false;
  if (instance.state !== 'running' || !instance.swappable || instance.acting === 'retire') return false;
  if (instance.acting === 'swapVolume' || instance.revision === null) return true;
  return instance.revision !== rollout.target && instance.health !== 'unhealthy';
}

function swapInPlace(
  pool: ObservedPool,
  outdated: ObservedInstance[],
  rollout: RolloutView,
  now: number,
): Action[] {
  const settles = (i: ObservedInstance) => isReady(i, rollout.target) && !isFit(i, rollout, now);
  const swapping = pool.instances.filter((i) => i.acting === 'swapVolume' || settles(i)).length;
  const { parallel } = rollout.policy;
  const atOnce = parallel === 'auto' ? parallelism(rollout.swapped) : parallel;
  return outdated
    .filter((i) => i.acting === null)
    .sort((a, b) => a.weight - b.weight)
    .slice(0, Math.max(0, atOnce - swapping))
    .map((i) => ({ kind: 'swapVolume', instance: i.id, mode: 'overlap', hold: false }));
}

function swapInTurn(
  pool: ObservedPool,
  outdated: ObservedInstance[],
  rollout: RolloutView,
  now: number,
): Action[] {
  const running = pool.instances.filter((i) => i.state === 'running' && i.swappable && i.acting !== 'retire');
  const [only] = outdated;
  if (only && running.length === 1) {
    return only.acting === null
      ? [{ kind: 'swapVolume', instance: only.id, mode: 'replace', hold: true }]
      : [];
  }
  const size = Math.min(rollout.replicas, running.length);
  const floor = Math.max(1, size - Math.max(1, bounds(rollout.policy, size).unavailable));
  let spare = running.filter(staysAvailable).length - floor;
  const actions: Action[] = [];
  for (const instance of running.filter((i) => i.acting === null)) {
    if (isFit(instance, rollout, now) && instance.weight === 0) {
      actions.push({ kind: 'admit', instance: instance.id, weight: FULL_WEIGHT });
    } else if (outdated.includes(instance)) {
      if (instance.weight === 0 && instance.inFlight === 0) {
        actions.push({ kind: 'swapVolume', instance: instance.id, mode: 'replace', hold: false });
      } else if (!isAvailable(instance) || spare > 0) {
        if (isAvailable(instance)) spare -= 1;
        actions.push({ kind: 'drain', instance: instance.id });
      }
    }
  }
  return actions;
}
