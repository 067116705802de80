/** What can be done to an instance. Few, coarse, and safe to repeat. */
export type Action =
  /** start a new instance of the rollout's target revision */
  | { kind: 'launch'; instance: string }
  /** give it new requests, after one more verification */
  | { kind: 'admit'; instance: string }
  /** give it no new requests and wait for its last one to end, at most the drain time */
  | { kind: 'drain'; instance: string }
  /** take it out of the table, power it down, remove it */
  | { kind: 'retire'; instance: string }
  /** exchange its code volumes for the target's and verify; `hold`: requests wait meanwhile, for nobody else can serve */
  | { kind: 'swapVolume'; instance: string; mode: 'overlap' | 'replace'; hold: boolean };
