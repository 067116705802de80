/** Time, handed in, so that a rollout can be run in simulated time. */
export interface Clock {
  /** epoch milliseconds */
  now(): number;
  /** Resolves after `ms`. */
  sleep(ms: number): Promise<void>;
}
