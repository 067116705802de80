import { isReady, isSettled, type ObservedInstance, type ObservedPool } from '../src/domain/pool.ts';
import { type Decision, fail, type RolloutView, wait } from '../src/domain/strategy.ts';

/** Launched by this rollout in its present direction, so its failure is the rollout's. */
export function isFresh(instance: ObservedInstance, rollout: RolloutView): boolean {
  return instance.revision === rollout.target && instance.launchedAt >= rollout.since;
}

/** Of the target, and none of those that are to be replaced by others of the same revision. */
export function isTarget(instance: ObservedInstance, rollout: RolloutView): boolean {
  return (
    instance.revision !== null &&
    instance.revision === rollout.target &&
    (rollout.renew === null || instance.launchedAt >= rollout.renew)
  );
}

/** Fit to serve as the target: healthy, proven, and so for as long as the policy wants. */
export function isFit(instance: ObservedInstance, rollout: RolloutView, now: number): boolean {
  return isTarget(instance, rollout) && isSettled(instance, rollout.target, rollout.policy.minHealthy, now);
}

/**
 * What stops a strategy before it looks any further: an instance that serves, or could, and that nobody has asked yet, or
 * one that has failed.
 */
export function obstacle(pool: ObservedPool, rollout: RolloutView, now: number): Decision | undefined {
  const unread = (i: ObservedInstance) =>
    i.acting === null &&
    i.state === 'running' &&
    i.health === 'unknown' &&
    (i.routed || (isTarget(i, rollout) && !isFresh(i, rollout)));
  if (pool.instances.some(unread)) return wait('the first answers');
  const broken = pool.instances.find((i) => isBroken(i, rollout, now));
  return broken && fail(broken.id, whyBroken(broken, rollout));
}

function isBroken(instance: ObservedInstance, rollout: RolloutView, now: number): boolean {
  if (instance.acting !== null) return false;
  if (turnedBad(instance, rollout)) return true;
  if (!isFresh(instance, rollout)) return false;
  // There is nothing better to go back to than another one of the same.
  if (instance.state === 'stopped') return rollout.spare < 0 || rollout.direction === 'forward';
  // A controller that has just taken over has not asked yet: that is no failure of the instance.
  if (instance.state === 'running' && instance.health === 'unknown') return false;
  return now - instance.launchedAt > rollout.health.deadline && !isPromising(instance, rollout);
}

/** Ready, or, where it has to be so for a while before it counts, on the way to that: a controller may have begun to ask late. */
function isPromising(instance: ObservedInstance, { target, policy }: RolloutView): boolean {
  const unbroken = instance.routed || policy.minHealthy === 0 || instance.healthySince !== null;
  return isReady(instance, target) && unbroken;
}

/**
 * It served what this rollout has brought, and does not any more: launched by it, or given its volumes. On the way back
 * it may recover, for there is nothing better to go to.
 */
export function turnedBad(instance: ObservedInstance, rollout: RolloutView): boolean {
  const { weight, health, state } = instance;
  const brought =
    rollout.direction === 'forward' &&
    weight > 0 &&
    (isFresh(instance, rollout) || (rollout.change === 'volumes' && isTarget(instance, rollout)));
  return brought && (health === 'unhealthy' || state === 'stopped');
}

function whyBroken(instance: ObservedInstance, rollout: RolloutView): string {
  if (instance.state === 'stopped') return 'stopped by itself';
  if (turnedBad(instance, rollout)) return 'served the new revision and became unhealthy';
  const within = `within ${rollout.health.deadline / 1000} s`;
  if (instance.health !== 'healthy') return `was not healthy ${within}`;
  if (!instance.verified) return `did not prove revision ${rollout.target} ${within}`;
  return `was not healthy for ${rollout.policy.minHealthy / 1000} s without a break ${within}`;
}
