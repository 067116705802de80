import type { ErrorReport } from '../errors.ts';
import type { GateState } from './gate.ts';
import type { HealthPolicy, RolloutPolicy, StrategyName } from './policy.ts';
import type { Sick } from './repair.ts';
import type { SupervisionPolicy } from './supervision.ts';
import type { TrafficPolicy } from './traffic.ts';

/** `rolled-back`: by itself; `aborted`: because somebody said so; both serve the old revision. `superseded`: another took over. */
export type Verdict = 'succeeded' | 'rolled-back' | 'failed' | 'aborted' | 'superseded';

/** What somebody asked for; `repair`: the supervisor. */
export type RolloutKind = 'rollout' | 'rollback' | 'restart' | 'scale' | 'up' | 'down' | 'repair' | 'restore';

/** Whether such a rollout moves by the policy of a config. The others stand at no gate, and the service keeps the policy that it has. */
export function isByConfig(kind: RolloutKind): boolean {
  return kind === 'rollout' || kind === 'up';
}

/** Where the pool of a service is to be: a revision on so many instances, reached by clients there and in this way. */
export interface Goal {
  /** null: no instance */
  revision: number | null;
  replicas: number;
  listen: { host: string; port: number };
  traffic: TrafficPolicy;
}

/** One attempt to move a pool from one goal to another. */
export interface Rollout {
  id: number;
  service: string;
  kind: RolloutKind;
  /** the last stable goal, where a failure goes back to; revision null when there is none */
  from: Goal;
  to: Goal;
  strategy: StrategyName;
  policy: RolloutPolicy;
  health: HealthPolicy;
  supervision: SupervisionPolicy;
  /** `back` once it has failed and is undoing itself */
  direction: 'forward' | 'back';
  state: 'open' | Verdict;
  /** why it turned back or failed */
  reason: ErrorReport | null;
  performer: string;
  startedAt: number;
  /** when it began to move in its present direction */
  since: number;
  endedAt: number | null;
  /** instances launched so far; the next one's ordinal is one more */
  launches: number;
  /** instances launched before are replaced, also those of the target, epoch milliseconds; null: none */
  renew: number | null;
  /** the instances that a repair is about */
  sick: Sick[];
  /** a data volume that is made what it was, while no instance has it; left out: none */
  revert?: { volume: string; snapshot: string } | undefined;
  /** the snapshot that its one new instance goes on from; null: those it launches boot */
  restore: Restore | null;
  /** further revisions that instances may be of: those of rollouts that this one took over from */
  among: number[];
  /** the gates that it has come to in its present direction, by their keys */
  gates: Record<string, GateState>;
  /** somebody has it stand still */
  paused: Order | null;
  /** somebody has it end: it goes back, or leaves the pool as it is to the rollout that supersedes it */
  ending: (Order & { how: 'abort' | 'supersede' }) | null;
  /** no further gate holds it up */
  full: boolean;
  /** of the present direction: when it last got on, and the time that it stood still on purpose, ms */
  progressAt: number;
  stood: number;
  /** since when it stands still on purpose; null: it does not */
  standingSince: number | null;
  /** position in the journal up to which people's orders have been obeyed */
  heard: number;
}

/** An instance that is to be as it was. */
export interface Restore {
  snapshot: string;
  /** the instance whose place it takes; it need not be there any more */
  replaces: string;
}

/** Somebody's word. */
interface Order {
  by: string;
  /** epoch milliseconds */
  at: number;
}

/** What a rollout is when it begins, or turns. */
export function underWay(
  now: number,
): Pick<Rollout, 'since' | 'gates' | 'paused' | 'full' | 'progressAt' | 'stood' | 'standingSince'> {
  return { since: now, gates: {}, paused: null, full: false, progressAt: now, stood: 0, standingSince: null };
}

export function goal(rollout: Rollout): Goal {
  return rollout.direction === 'forward' ? rollout.to : rollout.from;
}

/** Whether nothing of before is left: what is kept as evidence goes too. */
export function endsAll(rollout: Rollout): boolean {
  return goal(rollout).revision === null || (rollout.direction === 'forward' && rollout.renew !== null);
}

/** How a rollout that has reached its goal ends: going back to nothing is no rescue. */
export function verdict(rollout: Rollout): Verdict {
  if (rollout.direction === 'forward') return 'succeeded';
  if (rollout.ending?.how === 'abort') return 'aborted';
  return rollout.from.revision === null ? 'failed' : 'rolled-back';
}

/** The same, standing still on purpose from now on, or no more: the time in between counts for no deadline. */
export function standStill(rollout: Rollout, stands: boolean, now: number): Rollout {
  const { standingSince, stood } = rollout;
  if (stands) return standingSince === null ? { ...rollout, standingSince: now } : rollout;
  if (standingSince === null) return rollout;
  const still = now - standingSince;
  const progressAt = Math.min(now, rollout.progressAt + still);
  return { ...rollout, standingSince: null, stood: stood + still, progressAt };
}

/** Why it takes too long by its own policy; null: it does not. */
export function overdue(
  { policy, since, stood, progressAt, standingSince }: Rollout,
  now: number,
): string | null {
  if (standingSince !== null) return null;
  if (now - since - stood > policy.deadline) return `did not end within ${policy.deadline / 1000} s`;
  if (now - progressAt > policy.progressDeadline)
    return `did not get on for ${policy.progressDeadline / 1000} s`;
  return null;
}
