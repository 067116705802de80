import type { ErrorReport } from '../errors.ts';
import type { HealthPolicy, RolloutPolicy, StrategyName } from './policy.ts';
import type { TrafficPolicy } from './traffic.ts';

export type Verdict = 'succeeded' | 'rolled-back' | 'failed' | 'aborted';

/** What somebody asked for. */
export type RolloutKind = 'rollout' | 'rollback' | 'scale' | 'up' | 'down';

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
}

export function goal(rollout: Rollout): Goal {
  return rollout.direction === 'forward' ? rollout.to : rollout.from;
}

/** How a rollout that has reached its goal ends: going back to nothing is no rescue. */
export function verdict(rollout: Rollout): Verdict {
  if (rollout.direction === 'forward') return 'succeeded';
  return rollout.from.revision === null ? 'failed' : 'rolled-back';
}
