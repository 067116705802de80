import type { Action } from './action.ts';
import type { Gate } from './gate.ts';
import type { Swapped } from './pace.ts';
import type { HealthPolicy, RolloutPolicy } from './policy.ts';
import type { ObservedPool } from './pool.ts';
import type { Sick } from './repair.ts';
import type { Difference } from './revision.ts';

/** What a strategy may know of the rollout it decides for. On the way back, `target` is the revision to go back to. */
export interface RolloutView {
  /** null: no instance is to be left */
  target: number | null;
  replicas: number;
  /** the revision that it comes from, in both directions; null: nothing ran before */
  from: number | null;
  policy: RolloutPolicy;
  health: HealthPolicy;
  /** how the target's guests take volumes */
  swap: 'overlap' | 'replace';
  /** its instances write to a disk that one of them can have: each goes, and is gone, before the next one starts */
  exclusive: boolean;
  /** `back` once it undoes itself */
  direction: 'forward' | 'back';
  /** what tells the revision that it comes from from the target */
  change: Difference;
  /** when the rollout began to move in this direction, epoch milliseconds */
  since: number;
  /** instances of the target that were launched before are replaced all the same, epoch milliseconds; null: none */
  renew: number | null;
  /** the instances that a repair is about; in every other rollout none */
  sick: readonly Sick[];
  /** the instance whose place the restored one takes; null: none is restored */
  replaces: string | null;
  /** when each gate was passed, epoch milliseconds, by its key; on the way back there are none */
  passed: Readonly<Record<string, number>>;
  /** the swaps that have ended well in its present direction, since this controller has it, in the order of their ends */
  swapped: readonly Swapped[];
  /** how many more instances may stop by themselves on the way back; negative: too many have. On the way forward each is a failure */
  spare: number;
  /** ids for the instances to be launched next, never used before */
  freshId: (ordinal: number) => string;
}

export type Decision =
  | { kind: 'act'; actions: Action[] }
  /** nothing to do until something changes; `reason` is for people */
  | { kind: 'wait'; reason: string }
  /** nothing to do until the gate is passed; asked again and again meanwhile, for the pool may fail */
  | { kind: 'gate'; gate: Gate }
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
export const stand = (gate: Gate): Decision => ({ kind: 'gate', gate });
export const done: Decision = { kind: 'done' };

/** The first of these gates that keeps the rollout up. On the way back nothing does. */
export function shut(rollout: RolloutView, ...gates: Gate[]): Gate | undefined {
  return rollout.direction === 'back'
    ? undefined
    : gates.find(({ key }) => rollout.passed[key] === undefined);
}
