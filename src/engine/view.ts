import type { Swapped } from '../domain/pace.ts';
import { type Difference, dataOf, difference, type Revision, swapMode } from '../domain/revision.ts';
import { goal, type Rollout } from '../domain/rollout.ts';
import type { RolloutView } from '../domain/strategy.ts';
import type { TrafficPolicy } from '../domain/traffic.ts';
import type { RolloutStore } from '../store/port.ts';

export type Revisions = Pick<RolloutStore, 'revision'>;

/** Each is read once: what a revision is made of never changes. */
export function readOnce(store: Revisions): Revisions {
  const known = new Map<string, Revision>();
  return {
    revision(service, number) {
      const key = `${service} ${number}`;
      const revision = known.get(key) ?? store.revision(service, number);
      if (revision) known.set(key, revision);
      return revision;
    },
  };
}

/**
 * What a strategy is told of a rollout.
 *
 * @param spare how many more instances it may lose on the way back
 */
export function viewOf(
  rollout: Rollout,
  store: Revisions,
  { spare, swapped }: { spare: number; swapped: readonly Swapped[] },
): RolloutView {
  const { id, service, policy, health, since, launches, direction, from, renew, gates, sick, restore } =
    rollout;
  const { revision, replicas, traffic } = goal(rollout);
  const exclusive = candidatesOf(rollout, store).some((candidate) => dataOf(candidate).length > 0);
  return {
    target: revision,
    replicas,
    from: from.revision,
    policy: exclusive ? { ...policy, maxSurge: 0, maxUnavailable: Math.max(1, replicas) } : policy,
    health,
    exclusive,
    swap: swapModeOf(targetOf(rollout, store), traffic),
    direction,
    change: changeOf(rollout, store),
    since,
    renew: direction === 'forward' ? renew : null,
    sick,
    replaces: direction === 'forward' ? (restore?.replaces ?? null) : null,
    passed: Object.fromEntries(
      Object.entries(gates).flatMap(([key, { passedAt }]) => (passedAt === null ? [] : [[key, passedAt]])),
    ),
    swapped,
    spare: direction === 'back' ? spare : 0,
    freshId: (ordinal) => `${service}-${id}-${launches + ordinal + 1}`,
  };
}

/** Where pages are kept whole nobody may meet a guest that serves one thing and then, without a word, another. */
function swapModeOf(target: Revision | null, { sticky }: TrafficPolicy): RolloutView['swap'] {
  return sticky !== null && sticky.pages > 0 ? 'replace' : swapMode(target);
}

/** The revision that it moves to in its present direction; null: no instance is to be left. */
export function targetOf(rollout: Rollout, store: Revisions): Revision | null {
  return find(rollout, goal(rollout).revision, store);
}

/** What its instances may be of. The goal's revision first: of two that are alike an instance counts as the goal's. */
export function candidatesOf(rollout: Rollout, store: Revisions): Revision[] {
  const { from, to, among } = rollout;
  const numbers = new Set([goal(rollout).revision, from.revision, to.revision, ...among]);
  return [...numbers].map((number) => find(rollout, number, store)).filter((revision) => revision !== null);
}

function changeOf(rollout: Rollout, store: Revisions): Difference {
  const from = find(rollout, rollout.from.revision, store);
  const to = find(rollout, rollout.to.revision, store);
  return from && to ? difference(from, to) : 'image';
}

function find({ service }: Rollout, number: number | null, store: Revisions): Revision | null {
  return number === null ? null : store.revision(service, number);
}
