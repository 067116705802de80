import { type Action, FULL_WEIGHT } from '../src/domain/action.ts';
import { bakeGate, type Gate, hookGate } from '../src/domain/gate.ts';
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
  done,
  type RolloutView,
  type Strategy,
  shut,
  stand,
  wait,
} from '../src/domain/strategy.ts';
import { isFit, isFresh, isTarget, obstacle } from './failing.ts';
import { abandon, evenOut, isLeftOver } from './takeover.ts';

/**
 * Replaces instances a few at a time: launch new ones up to `maxSurge` above the replicas, admit each once verified,
 * drain and retire old ones while no more than `maxUnavailable` are missing; `batchWait` between one batch and the next.
 *
 * Scaling and taking a service down are the same movement with another goal.
 */
export const rolling: Strategy = {
  name: 'rolling',
  next: (pool, rollout, now) => abandon(pool, rollout) ?? evenOut(pool.instances) ?? roll(pool, rollout, now),
};

/** The movement by itself, for strategies that give shares of their own meanwhile. */
export function roll(pool: ObservedPool, rollout: RolloutView, now: number): Decision {
  const stopped = obstacle(pool, rollout, now);
  if (stopped) return stopped;
  const { keep, leave } = sort(pool, rollout);
  const moves = [...admissions(keep, rollout, now), ...departures(pool, leave, rollout)];
  const gate = gateBefore(moves, keep, leave, rollout);
  if (gate) {
    const quiet = moves.filter((action) => action.kind === 'retire');
    return quiet.length > 0 ? act(...quiet) : stand(gate);
  }
  const actions = [...moves, ...launches(pool, keep, rollout)];
  if (actions.length > 0) return act(...actions);
  const pending = keep.find((i) => !isReady(i, rollout.target) || i.weight === 0);
  if (pending) return wait(`${pending.id} to be healthy and verified`);
  const leaving = leave[0];
  if (leaving) return wait(`${leaving.id} to leave`);
  const last = shut(rollout, hookGate('post-cutover'), bakeGate(rollout.policy.bake));
  return last ? stand(last) : done;
}

/** The gate before the first clients are moved, and the one between two batches. */
function gateBefore(
  moves: Action[],
  keep: ObservedInstance[],
  leave: ObservedInstance[],
  rollout: RolloutView,
): Gate | undefined {
  const moving = moves.some(
    (action) => action.kind === 'admit' || (action.kind === 'drain' && leave.some(isAvailable)),
  );
  const first = moving ? shut(rollout, hookGate('pre-cutover')) : undefined;
  if (first) return first;
  const serving = keep.filter((i) => i.weight > 0 && isFresh(i, rollout)).length;
  const batchIsThrough =
    keep.every((i) => i.weight > 0) && leave.some((i) => i.weight > 0 && i.acting === null);
  if (rollout.policy.batchWait === 0 || serving === 0 || !batchIsThrough) return undefined;
  return shut(rollout, {
    key: `${serving} replaced`,
    wait: rollout.policy.batchWait,
    hooks: null,
    analysed: false,
  });
}

/** Who stays in the pool, and who has to go, those first that were abandoned: other revisions, dead instances, and what is above the replicas. */
export function sort(
  pool: ObservedPool,
  rollout: RolloutView,
): { keep: ObservedInstance[]; leave: ObservedInstance[] } {
  const ready = (i: ObservedInstance) => isTarget(i, rollout) && isReady(i, rollout.target);
  const belongs = (i: ObservedInstance) => ready(i) || (isFresh(i, rollout) && i.state !== 'stopped');
  const usefulness = (i: ObservedInstance) => (ready(i) ? 2 : 0) + (i.weight > 0 ? 1 : 0);
  const belonging = pool.instances
    .filter((i) => belongs(i) && i.acting !== 'retire')
    .sort((a, b) => usefulness(b) - usefulness(a) || a.launchedAt - b.launchedAt);
  const keep = belonging.slice(0, rollout.replicas);
  const leave = pool.instances.filter((i) => !keep.includes(i));
  return {
    keep,
    leave: leave.sort((a, b) => Number(isLeftOver(b, rollout)) - Number(isLeftOver(a, rollout))),
  };
}

function admissions(keep: ObservedInstance[], rollout: RolloutView, now: number): Action[] {
  return keep
    .filter((i) => i.acting === null && i.weight === 0 && isFit(i, rollout, now))
    .map((i) => ({ kind: 'admit', instance: i.id, weight: FULL_WEIGHT }));
}

/** Those without traffic go at once; those with traffic are drained while enough others serve. */
function departures(pool: ObservedPool, leave: ObservedInstance[], rollout: RolloutView): Action[] {
  const floor = Math.max(0, rollout.replicas - bounds(rollout.policy, rollout.replicas).unavailable);
  let available = pool.instances.filter(staysAvailable).length;
  const actions: Action[] = [];
  for (const instance of leave.filter((i) => i.acting === null)) {
    if (instance.state === 'stopped' || (instance.weight === 0 && instance.inFlight === 0)) {
      actions.push({ kind: 'retire', instance: instance.id });
    } else if (!isAvailable(instance)) {
      actions.push({ kind: 'drain', instance: instance.id });
    } else if (available > floor) {
      available -= 1;
      actions.push({ kind: 'drain', instance: instance.id });
    }
  }
  return actions;
}

function launches(pool: ObservedPool, keep: ObservedInstance[], rollout: RolloutView): Action[] {
  // One that has stopped may be there still, or hold its disk as evidence.
  if (rollout.exclusive && pool.instances.some((i) => !keep.includes(i))) return [];
  const { surge } = bounds(rollout.policy, rollout.replicas);
  const alive = pool.instances.filter((i) => i.state !== 'stopped').length;
  const missing = Math.min(rollout.replicas - keep.length, rollout.replicas + surge - alive);
  return launchesOf(missing, rollout);
}

export function launchesOf(count: number, rollout: RolloutView): Action[] {
  return Array.from({ length: Math.max(0, count) }, (_, n) => ({
    kind: 'launch',
    instance: rollout.freshId(n),
  }));
}
