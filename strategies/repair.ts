import { type Action, FULL_WEIGHT } from '../src/domain/action.ts';
import { bounds } from '../src/domain/policy.ts';
import { isAvailable, isReady, type ObservedInstance, type ObservedPool } from '../src/domain/pool.ts';
import { mayFinish, type Sick } from '../src/domain/repair.ts';
import { act, type Decision, done, type RolloutView, type Strategy, wait } from '../src/domain/strategy.ts';
import { isFit, isFresh, obstacle } from './failing.ts';
import { launchesOf } from './rolling.ts';

/**
 * Replaces the instances that the supervisor has found sick, and those that are missing: others are launched and admitted
 * first, up to `maxSurge` above the replicas, then the sick ones go. Every other instance is left as it is. A repair that
 * fails takes back what it has launched, and leaves the sick ones: they may recover.
 */
export const repair: Strategy = {
  name: 'repair',
  next: (pool, rollout, now) =>
    rollout.direction === 'back' ? takeBack(pool, rollout) : replace(pool, rollout, now),
};

function replace(pool: ObservedPool, rollout: RolloutView, now: number): Decision {
  const stopped = obstacle(pool, rollout, now);
  if (stopped) return stopped;
  const { sick, well } = sort(pool, rollout);
  const actions = [...admissions(well, rollout, now), ...departures(pool, sick, well, rollout)];
  actions.push(...launches(pool, sick, well, rollout));
  if (actions.length > 0) return act(...actions);
  const pending = well.find((i) => isFresh(i, rollout) && (!isReady(i, rollout.target) || i.weight === 0));
  if (pending) return wait(`${pending.id} to be healthy and verified`);
  const [leaving] = sick;
  return leaving ? wait(`${leaving.id} to leave`) : done;
}

/** What this repair is about, and what stays; instances of other revisions are none of its business. */
function sort(
  { instances }: ObservedPool,
  rollout: RolloutView,
): { sick: ObservedInstance[]; well: ObservedInstance[] } {
  const named = (i: ObservedInstance) => wordOn(i, rollout) !== undefined;
  return {
    sick: instances.filter(named),
    well: instances.filter((i) => !named(i) && i.revision === rollout.target && i.acting !== 'retire'),
  };
}

function wordOn({ id }: ObservedInstance, { sick }: RolloutView): Sick | undefined {
  return sick.find(({ instance }) => instance === id);
}

function admissions(well: ObservedInstance[], rollout: RolloutView, now: number): Action[] {
  return well
    .filter((i) => i.acting === null && i.weight === 0 && isFit(i, rollout, now))
    .map((i) => ({ kind: 'admit', instance: i.id, weight: FULL_WEIGHT }));
}

/**
 * Sick ones go when the others are enough without them. Sooner go those that serve nobody, where there is no room for others
 * beside them or the policy wants it so, and, by `maxUnavailable`, those that do serve.
 */
function departures(
  pool: ObservedPool,
  sick: ObservedInstance[],
  well: ObservedInstance[],
  rollout: RolloutView,
): Action[] {
  const { unavailable } = bounds(rollout.policy, rollout.replicas);
  const serving = well.filter((i) => i.weight > 0 && isAvailable(i)).length;
  let spare = serving + sick.filter(isAvailable).length - (rollout.replicas - unavailable);
  let wanted = rollout.replicas - well.length - room(pool, rollout);
  const actions: Action[] = [];
  for (const instance of sick.filter(({ acting }) => acting === null)) {
    const word = wordOn(instance, rollout);
    if (!word) continue;
    const { id, state, weight, inFlight } = instance;
    const enough = serving >= rollout.replicas || word.treatment === 'restart';
    if (isAvailable(instance)) {
      if (!enough && spare <= 0) continue;
      spare -= 1;
      actions.push({ kind: 'drain', instance: id });
    } else if (state === 'stopped') {
      // As long as the table has anybody, requests wait for the next one instead of being refused.
      if (rollout.exclusive || pool.instances.some((i) => i.routed && i.state !== 'stopped'))
        actions.push({ kind: 'retire', instance: id });
    } else if (enough || wanted > 0) {
      wanted -= 1;
      const rests = mayFinish(word) && (weight > 0 || inFlight > 0);
      actions.push({ kind: rests ? 'drain' : 'retire', instance: id });
    }
  }
  return actions;
}

/** How many more may run at once. */
function room({ instances }: ObservedPool, rollout: RolloutView): number {
  const alive = instances.filter((i) => i.state !== 'stopped' && i.revision === rollout.target).length;
  return rollout.replicas + bounds(rollout.policy, rollout.replicas).surge - alive;
}

function launches(
  pool: ObservedPool,
  sick: ObservedInstance[],
  well: ObservedInstance[],
  rollout: RolloutView,
): Action[] {
  if (rollout.exclusive && pool.instances.some((i) => !well.includes(i))) return [];
  const first = sick.filter((i) => wordOn(i, rollout)?.treatment === 'restart');
  const missing = rollout.replicas - well.length - first.length;
  return launchesOf(Math.min(missing, room(pool, rollout)), rollout);
}

/** Ends what this repair has launched and nobody uses; a sick instance that has recovered serves again. */
function takeBack({ instances }: ObservedPool, rollout: RolloutView): Decision {
  const ours = instances.filter((i) => i.revision === rollout.target);
  const recovered = ours.filter((i) => i.routed && i.weight === 0 && isReady(i, rollout.target));
  const useless = ours.filter((i) => wordOn(i, rollout) === undefined && !i.routed);
  const idle = ({ acting }: ObservedInstance) => acting === null;
  const actions: Action[] = [
    ...recovered.filter(idle).map((i): Action => ({ kind: 'admit', instance: i.id, weight: FULL_WEIGHT })),
    ...useless.filter(idle).map((i): Action => ({ kind: 'retire', instance: i.id })),
  ];
  if (actions.length > 0) return act(...actions);
  const [left] = [...recovered, ...useless];
  return left ? wait(`${left.id} to ${recovered.includes(left) ? 'serve again' : 'leave'}`) : done;
}
