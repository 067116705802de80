import type { ErrorReport } from '../errors.ts';
import type { Action } from './action.ts';
import type { Measured } from './analysis.ts';
import type { HookPoint } from './hooks.ts';
import type { RolloutKind, Verdict } from './rollout.ts';
import type { Cause, Treatment } from './supervision.ts';

/** What was found at an instance when it failed, for whoever has to understand it. */
export interface Evidence {
  instance: string;
  /** the last answer to a health or revision check */
  lastAnswer: string | null;
  /** its last answers, oldest first */
  answers: string[];
  /** the last lines of its console */
  console: string[];
}

/** What happens in a rollout. The journal is append-only, and the one record: every display is a view of it. */
export type Happening =
  | {
      event: 'rollout-started';
      kind: RolloutKind;
      from: number | null;
      to: number | null;
      replicas: number;
      strategy: string;
      performer: string;
    }
  | { event: 'rollout-resumed'; controller: number }
  /** the record was lost, and made anew from what runs: what was found, and what nobody can know */
  | { event: 'state-rebuilt'; told: string[] }
  | { event: 'action-started'; action: Action; revision: number | null }
  | { event: 'action-finished'; action: Action; ms: number }
  | { event: 'action-failed'; action: Action; ms: number; error: ErrorReport }
  /** an instance had to be forced: what its guest had not written to its data volumes is lost */
  | { event: 'data-unwritten'; instance: string; volumes: string[] }
  /**
   * What happened to a data volume. `by`: whose word it was; null: the rollout's.
   * `still`: whether the guest held still meanwhile, or why not; null: nobody has asked it
   */
  | { event: 'data-kept'; volume: string; snapshot: string; still: true | string | null; by: string | null }
  | { event: 'data-forgotten'; volume: string; snapshot: string; by: string }
  | { event: 'data-removed'; volume: string; by: string }
  /** `aside`: its state until then, by which it can be undone */
  | { event: 'data-reverted'; volume: string; snapshot: string; aside: string; by: string | null }
  /** bytes */
  | { event: 'data-grown'; volume: string; from: number; to: number; by: string | null }
  /** `of`: the copy that it was made of, with what had changed since; null: it was made whole */
  | {
      event: 'data-copied';
      volume: string;
      copy: string;
      of: string | null;
      still: true | string | null;
      by: string;
    }
  | { event: 'copy-removed'; volume: string; copy: string; by: string }
  | { event: 'data-restored'; volume: string; copy: string; by: string }
  /** a guest was booted, proven and kept, for others to be copies of; `template`: its key */
  | { event: 'template-made'; template: string; revision: number; ms: number }
  /** the instance was started as a copy of the template, and has proven itself */
  | { event: 'copied'; instance: string; template: string; ms: number }
  /** there is no such template: none could be made, or a copy of it was of no use; guests boot instead */
  | { event: 'template-broken'; template: string; instance: string; error: ErrorReport }
  | { event: 'waiting'; reason: string }
  /** it has come to a gate; `promotable`: it opens when somebody promotes the rollout, and not before */
  | { event: 'gate-reached'; gate: string; promotable: boolean; ms: number | null }
  /** it does not open by itself any more: the analysis was inconclusive, say */
  | { event: 'gate-stuck'; gate: string; reason: string }
  /** by: who promoted it; null: by itself */
  | { event: 'gate-passed'; gate: string; by: string | null; ms: number }
  | { event: 'hook-finished'; point: HookPoint; hook: string; ms: number; error: ErrorReport | null }
  | { event: 'measured'; measured: Measured }
  | { event: 'paused'; by: string }
  | { event: 'resumed'; by: string }
  | { event: 'ordered'; how: 'abort' | 'supersede' | 'promote' | 'promote-full'; by: string }
  /**
   * the supervisor has found something wrong with an instance; `sentence` follows its name
   * `machine`: what QEMU said of it; `dump`: the file that has its memory
   */
  | {
      event: 'sick';
      instance: string;
      cause: Cause;
      sentence: string;
      treatment: Treatment;
      machine: string | null;
      dump: string | null;
      evidence: Evidence | null;
    }
  /** a sick instance is well again, before anything was done to it */
  | { event: 'recovered'; instance: string }
  /** the service is not repaired any more until a person has begun a rollout of it */
  | { event: 'supervision-stopped'; why: string }
  | { event: 'rollback-started'; to: number | null; reason: ErrorReport; evidence: Evidence | null }
  | {
      event: 'rollout-finished';
      verdict: Verdict;
      reason: ErrorReport | null;
      ms: number;
      evidence: Evidence | null;
      verified: boolean;
    };

/** What people have told a rollout, as it stands in its journal. */
const ORDERS = ['paused', 'resumed', 'ordered'] as const;
export type OrderEntry = Extract<JournalEntry, { event: (typeof ORDERS)[number] }>;

export type JournalEntry = Happening & {
  /** position in the journal, over all services */
  seq: number;
  service: string;
  rollout: number;
  /** epoch milliseconds */
  at: number;
};

export function isOrder(entry: JournalEntry): entry is OrderEntry {
  return (ORDERS as readonly string[]).includes(entry.event);
}
