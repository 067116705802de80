import type { Action } from '../src/domain/action.ts';
import { bounds } from '../src/domain/policy.ts';
import { isAvailable, isReady, type ObservedInstance, type ObservedPool } from '../src/domain/pool.ts';
import {
  act,
  type Decision,
  done,
  fail,
  type RolloutView,
  type Strategy,
  wait,
} from '../src/domain/strategy.ts';

/**
 * Replaces instances a few at a time: launch new ones up to `maxSurge` above the replicas, admit each once verified,
 * drain and retire old ones while no more than `maxUnavailable` are missing.
 *
 * Scaling, replacing dead instances and taking a service down are the same movement with another goal.
 */
export const rolling: Strategy = { name: 'rolling', next };

function next(pool: ObservedPool, rollout: RolloutView, now: number): Decision {
  const unread = pool.instances.some(
    (i) => !isFresh(i, rollout) && i.acting === null && i.state === 'running' && i.health === 'unknown',
  );
  if (unread) return wait('the first answers');
  const broken = pool.instances.find((i) => isFresh(i, rollout) && isBroken(i, rollout, now));
  if (broken) return fail(broken.id, whyBroken(broken, rollout));

  const { keep, leave } = sort(pool, rollout);
  const actions = [
    ...admissions(keep, rollout),
    ...departures(pool, leave, rollout),
    ...launches(pool, keep, rollout),
  ];
  if (actions.length > 0) return act(...actions);
  const pending = keep.find((i) => !isReady(i, rollout.target) || i.weight === 0);
  if (pending) return wait(`${pending.id} to be healthy and verified`);
  const leaving = leave[0];
  if (leaving) return wait(`${leaving.id} to leave`);
  return done;
}

/** Launched by this rollout in its present direction, so its failure is the rollout's. */
function isFresh(instance: ObservedInstance, rollout: RolloutView): boolean {
  return instance.revision === rollout.target && instance.launchedAt >= rollout.since;
}

function isBroken(instance: ObservedInstance, rollout: RolloutView, now: number): boolean {
  if (instance.acting !== null) return false;
  if (instance.state === 'stopped') return true;
  // A controller that has just taken over has not asked yet: that is no failure of the instance.
  if (instance.state === 'running' && instance.health === 'unknown') return false;
  return !isReady(instance, rollout.target) && now - instance.launchedAt > rollout.health.deadline;
}

function whyBroken(instance: ObservedInstance, rollout: RolloutView): string {
  if (instance.state === 'stopped') return 'stopped by itself';
  const missing =
    instance.health === 'healthy' ? `did not prove revision ${rollout.target}` : 'was not healthy';
  return `${missing} within ${rollout.health.deadline / 1000} s`;
}

/** Who stays in the pool, and who has to go: other revisions, dead instances, and what is above the replicas. */
function sort(
  pool: ObservedPool,
  rollout: RolloutView,
): { keep: ObservedInstance[]; leave: ObservedInstance[] } {
  const belongs = (i: ObservedInstance) =>
    isReady(i, rollout.target) || (isFresh(i, rollout) && i.state !== 'stopped');
  const usefulness = (i: ObservedInstance) => (isReady(i, rollout.target) ? 2 : 0) + (i.weight > 0 ? 1 : 0);
  const belonging = pool.instances
    .filter((i) => belongs(i) && i.acting !== 'retire')
    .sort((a, b) => usefulness(b) - usefulness(a) || a.launchedAt - b.launchedAt);
  const keep = belonging.slice(0, rollout.replicas);
  return { keep, leave: pool.instances.filter((i) => !keep.includes(i)) };
}

function admissions(keep: ObservedInstance[], rollout: RolloutView): Action[] {
  return keep
    .filter((i) => i.acting === null && i.weight === 0 && isReady(i, rollout.target))
    .map((i) => ({ kind: 'admit', instance: i.id }));
}

/** Those without traffic go at once; those with traffic are drained while enough others serve. */
function departures(pool: ObservedPool, leave: ObservedInstance[], rollout: RolloutView): Action[] {
  const floor = Math.max(0, rollout.replicas - bounds(rollout.policy, rollout.replicas).unavailable);
  let available = pool.instances.filter((i) => isAvailable(i) && i.acting !== 'drain').length;
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
  const { surge } = bounds(rollout.policy, rollout.replicas);
  const alive = pool.instances.filter((i) => i.state !== 'stopped').length;
  const missing = Math.min(rollout.replicas - keep.length, rollout.replicas + surge - alive);
  return Array.from({ length: Math.max(0, missing) }, (_, n) => ({
    kind: 'launch',
    instance: rollout.freshId(n),
  }));
}
