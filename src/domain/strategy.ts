import type { Action } from './action.ts';
import type { HealthPolicy, RolloutPolicy } from './policy.ts';
import type { ObservedPool } from './pool.ts';

/** What a strategy may know of the rollout it decides for. On the way back, `target` is the revision to go back to. */
export interface RolloutView {
  /** null: no instance is to be left */
  target: number | null;
  replicas: number;
  policy: RolloutPolicy;
  health: HealthPolicy;
  /** how the target's guests take volumes */
  swap: 'overlap' | 'replace';
  /** when the rollout began to move in this direction, epoch milliseconds */
  since: number;
  /** ids for the instances to be launched next, never used before */
  freshId: (ordinal: number) => string;
}

export type Decision =
  | { kind: 'act'; actions: Action[] }
  /** nothing to do until something changes; `reason` is for people */
  | { kind: 'wait'; reason: string }
  | { kind: 'done' }
  | { kind: 'fail'; reason: string; instance: string };

/** Decides the next step of a rollout. Pure: no clock, no I/O, the same answer for the same question. */
export interface Strategy {
  readonly name: string;
  /** @param now epoch milliseconds */
  next(pool: ObservedPool, rollout: RolloutView, now: number): Decision;
}

export const act = (...actions: Action[]): Decision => ({ kind: 'act', actions });
export const wait = (reason: string): Decision => ({ kind: 'wait', reason });
export const fail = (instance: string, reason: string): Decision => ({ kind: 'fail', instance, reason });
export const done: Decision = { kind: 'done' };
