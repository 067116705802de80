/** What can be done to an instance, or to the shares of several. Few, coarse, and safe to repeat. */
export type Action =
  /** start a new instance of the rollout's target revision */
  | { kind: 'launch'; instance: string }
  /** put it in the table with this weight, after one more verification; 0: for preview requests alone */
  | { kind: 'admit'; instance: string; weight: number }
  /** give it no new requests and wait for its last one to end, at most the drain time */
  | { kind: 'drain'; instance: string }
  /** take it out of the table, power it down, remove it */
  | { kind: 'retire'; instance: string }
  /** exchange its code volumes for the target's and verify; `hold`: requests wait meanwhile, for nobody else can serve */
  | { kind: 'swapVolume'; instance: string; mode: 'overlap' | 'replace'; hold: boolean }
  /** give instances that are in the table these weights, all of them with one table; those that had none are verified once more */
  | { kind: 'shift'; weights: Record<string, number> };

/** Weight of an instance that has the same share as every other. */
export const FULL_WEIGHT = 100;
/** The greatest weight that a table takes. */
export const MOST_WEIGHT = 256;

/** The instances that an action concerns. */
export function instancesOf(action: Action): string[] {
  return action.kind === 'shift' ? Object.keys(action.weights) : [action.instance];
}
