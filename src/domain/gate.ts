import { HOOK_POINTS, type HookPoint } from './hooks.ts';

/** A place where a rollout waits until it may go on. It opens by itself once nothing keeps it shut, or by a person's word. */
export interface Gate {
  /** unique in the rollout, and told to people: `bake`, `10 per cent` */
  key: string;
  /** milliseconds that it stays shut at least; null: until somebody promotes the rollout */
  wait: number | null;
  /** hooks that have to succeed first */
  hooks: HookPoint | null;
  /** whether the analysis of the policy, if there is one, has to succeed */
  analysed: boolean;
}

/** What is known of a gate that a rollout has come to. */
export interface GateState {
  /** epoch milliseconds */
  reachedAt: number;
  passedAt: number | null;
  /** why it does not open by itself any more, and a person has to decide; null: it may */
  stuck: string | null;
}

/** A gate that only the hooks of that point keep shut. */
export function hookGate(point: HookPoint): Gate {
  return { key: point, wait: 0, hooks: point, analysed: false };
}

/** The gates that a person's word opens, of those that a rollout has come to: those that only hooks keep shut are none of them. */
export function promotable(gates: Readonly<Record<string, GateState>>): string[] {
  const hooked: readonly string[] = HOOK_POINTS;
  return Object.keys(gates).filter((key) => gates[key]?.passedAt === null && !hooked.includes(key));
}

/** The time after the last shift of traffic in which a failure still switches back. */
export function bakeGate(ms: number): Gate {
  return { key: 'bake', wait: ms, hooks: null, analysed: true };
}
