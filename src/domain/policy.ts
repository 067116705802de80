/** A count, or a share of the replicas. */
export type Amount = number | `${number}%`;

/** Strategies by name; `auto` lets unideploy choose by what has changed. */
type StrategyChoice = 'auto' | 'rolling' | 'volume-swap';
export type StrategyName = Exclude<StrategyChoice, 'auto'>;

/** How a pool moves. Times in milliseconds. */
export interface RolloutPolicy {
  strategy: StrategyChoice;
  /** instances above the replicas while rolling */
  maxSurge: Amount;
  /** instances below the replicas while rolling */
  maxUnavailable: Amount;
  /** guests whose volumes are swapped at once */
  parallel: number;
  /** how long a request in flight may go on after its instance is drained; then it is cut */
  drain: number;
  /** how long a guest may take to power down; then it is forced */
  stop: number;
  /** from the attach of a volume until the guest proves it */
  verify: number;
  /** the whole rollout, in each direction */
  deadline: number;
}

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
