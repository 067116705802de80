import type { Action } from './action.ts';
import type { Health } from './health.ts';

/** One instance as observed: what really runs, not what was asked for. */
export interface ObservedInstance {
  id: string;
  /** revision that its image and its attached volumes make; null while they make none (a swap half done) */
  revision: number | null;
  /** its own answers prove `revision`, or `revision` is one that cannot be proven */
  verified: boolean;
  health: Health;
  /** since when it has answered well without a break, epoch milliseconds; null: it has not */
  healthySince: number | null;
  state: 'starting' | 'running' | 'stopped';
  /** epoch milliseconds */
  launchedAt: number;
  /** share of new requests; 0: drained, or never admitted */
  weight: number;
  /** the table has it, whatever its weight */
  routed: boolean;
  /** it differs from the target in its volumes alone, if at all */
  swappable: boolean;
  /** it has all volumes of the target, and others besides: a swap half done, or a guest that does not let go of them */
  burdened: boolean;
  /** the table has it as of another revision: a controller died between a swap and its record */
  mislabelled: boolean;
  inFlight: number;
  /** the action under way on it */
  acting: Action['kind'] | null;
}

/** The instances of one service and the table that fronts them. */
export interface ObservedPool {
  instances: ObservedInstance[];
  /** new requests wait in the data plane */
  hold: boolean;
}

/** Fit for traffic of `revision`: running, healthy, and proven by its own answer. */
export function isReady(instance: ObservedInstance, revision: number | null): boolean {
  return (
    revision !== null &&
    instance.revision === revision &&
    instance.state === 'running' &&
    instance.health === 'healthy' &&
    instance.verified
  );
}

/** Serves clients now: in the table with weight, and answering. */
export function isAvailable(instance: ObservedInstance): boolean {
  return instance.weight > 0 && instance.state === 'running' && instance.health !== 'unhealthy';
}

/** The same, whatever comes of what is under way: a drain, or a shift, may take its share. */
export function staysAvailable(instance: ObservedInstance): boolean {
  return isAvailable(instance) && instance.acting !== 'drain' && instance.acting !== 'shift';
}

/** Ready, and for long enough: `minHealthy` milliseconds without a break. */
export function isSettled(
  instance: ObservedInstance,
  revision: number | null,
  minHealthy: number,
  now: number,
): boolean {
  return (
    isReady(instance, revision) &&
    (minHealthy === 0 || (instance.healthySince !== null && now - instance.healthySince >= minHealthy))
  );
}
