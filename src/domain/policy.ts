import type { AnalysisPolicy } from './analysis.ts';
import { type Hooks, NO_HOOKS } from './hooks.ts';

/** A count, or a share of the replicas. */
export type Amount = number | `${number}%`;

export const STRATEGIES = ['rolling', 'blue-green', 'canary', 'volume-swap', 'recreate'] as const;
/** Those that somebody can ask for, and those of the verbs that repair and restore. */
export type OurStrategy = (typeof STRATEGIES)[number] | 'repair' | 'restore';
/** A strategy of ours, or the absolute path of a module that exports one as its default. */
export type StrategyName = OurStrategy | `/${string}`;
/** `auto` lets unideploy choose by what has changed. */
export type StrategyChoice = 'auto' | Exclude<StrategyName, 'repair' | 'restore'>;

/** One step of a canary: the share of the traffic that the new revision gets, and what has to be before the next. */
export interface CanaryStep {
  /** per cent */
  weight: number;
  /** milliseconds; null: until somebody promotes the rollout */
  pause: number | null;
  analysis: boolean;
}

/** What a canary goes through where nobody says anything else. */
export const DEFAULT_STEPS: CanaryStep[] = [
  { weight: 10, pause: 0, analysis: true },
  { weight: 50, pause: 0, analysis: false },
];

/** How a pool moves. Times in milliseconds. */
export interface RolloutPolicy {
  strategy: StrategyChoice;
  /** instances above the replicas while rolling */
  maxSurge: Amount;
  /** instances below the replicas while rolling */
  maxUnavailable: Amount;
  /** guests whose volumes are swapped at once; `auto`: as many as get it done soonest, by what the swaps before have taken */
  parallel: number | 'auto';
  /** how long a rolling one waits between a batch that serves and the next */
  batchWait: number;
  /** how long an instance has to be healthy without a break before it counts */
  minHealthy: number;
  /** before blue-green cuts over: 0 at once, or after so long; null: when somebody promotes it */
  promotion: number | null;
  /** what a canary goes through before it gets everything */
  steps: CanaryStep[];
  /** after the last shift of traffic, in which a failure switches back */
  bake: number;
  /** stable revisions whose artifacts are kept, to go back to; the one that is served among them */
  keep: number;
  /** how long blue-green and canary keep the old instances, without traffic, once the rollout has succeeded */
  warm: number;
  /** how long a gate may wait for a person, and what becomes of it then */
  gateTimeout: { after: number; action: 'rollback' | 'promote' };
  hooks: Hooks;
  analysis: AnalysisPolicy | null;
  /** how long a request in flight may go on after its instance is drained; then it is cut */
  drain: number;
  /** how long a guest may take to power down; then it is forced */
  stop: number;
  /** from the attach of a volume until the guest proves it */
  verify: number;
  /** without an action that ends well or a gate that opens; what it stands still on purpose is not counted */
  progressDeadline: number;
  /** the whole rollout, in each direction; what it stands still on purpose is not counted */
  deadline: number;
}

/** The part of a policy that holds a rollout up, where nothing does. */
export const NO_GATES = {
  batchWait: 0,
  minHealthy: 0,
  promotion: 0,
  steps: DEFAULT_STEPS,
  bake: 0,
  warm: 0,
  gateTimeout: { after: 86_400_000, action: 'rollback' },
  hooks: NO_HOOKS,
  analysis: null,
} satisfies Partial<RolloutPolicy>;

/** When an instance counts as healthy. Times in milliseconds. */
export interface HealthPolicy {
  interval: number;
  timeout: number;
  /** successes in a row that make it healthy */
  healthy: number;
  /** failures in a row that make it unhealthy */
  unhealthy: number;
  /** from launch to healthy and verified */
  deadline: number;
}

/** How far a pool of `replicas` may leave its size; surge rounds up, unavailable down, and one of them is at least 1. */
export function bounds(policy: RolloutPolicy, replicas: number): { surge: number; unavailable: number } {
  const surge = resolve(policy.maxSurge, replicas, Math.ceil);
  const unavailable = resolve(policy.maxUnavailable, replicas, Math.floor);
  return surge + unavailable === 0 ? { surge: 1, unavailable: 0 } : { surge, unavailable };
}

function resolve(amount: Amount, replicas: number, round: (n: number) => number): number {
  return typeof amount === 'number' ? amount : round((Number.parseFloat(amount) * replicas) / 100);
}

/** The policy of a movement that nobody has to look at: to another number of instances, to new ones of the same revision, or back to what ran before. */
export function ungated(policy: RolloutPolicy): RolloutPolicy {
  const hooks = { ...NO_HOOKS, 'post-rollout': policy.hooks['post-rollout'] };
  return { ...policy, batchWait: 0, promotion: 0, steps: [], bake: 0, hooks, analysis: null };
}
