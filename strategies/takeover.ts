import { FULL_WEIGHT } from '../src/domain/action.ts';
import { bounds } from '../src/domain/policy.ts';
import { isAvailable, type ObservedInstance, type ObservedPool } from '../src/domain/pool.ts';
import { act, type Decision, type RolloutView } from '../src/domain/strategy.ts';

/** On the way forward: neither of the revision that the rollout comes from nor of its target, but of one that it took over from. */
export function isLeftOver(instance: ObservedInstance, { target, from, direction }: RolloutView): boolean {
  if (direction === 'back') return false;
  return instance.revision !== null && instance.revision !== target && instance.revision !== from;
}

/** Takes the requests from what an abandoned rollout has left, with one table, where the others can carry them. */
export function abandon(pool: ObservedPool, rollout: RolloutView): Decision | undefined {
  const serving = pool.instances.filter(({ weight }) => weight > 0);
  const left = serving.filter((i) => isLeftOver(i, rollout));
  const others = serving.filter((i) => !left.includes(i) && isAvailable(i) && i.acting === null);
  const floor = rollout.replicas - bounds(rollout.policy, rollout.replicas).unavailable;
  if (left.length === 0 || others.length < Math.max(1, floor)) return undefined;
  return left.every(({ acting }) => acting === null) ? shift(left, 0) : undefined;
}

/** The same share for each that has one: a canary that was taken over from has left them uneven. */
export function evenOut(instances: ObservedInstance[]): Decision | undefined {
  const uneven = instances.filter(
    ({ weight, acting }) => weight > 0 && weight !== FULL_WEIGHT && acting === null,
  );
  return uneven.length > 0 ? shift(uneven, FULL_WEIGHT) : undefined;
}

function shift(instances: ObservedInstance[], weight: number): Decision {
  return act({ kind: 'shift', weights: Object.fromEntries(instances.map(({ id }) => [id, weight])) });
}
