import type { JournalEntry } from './journal.ts';

/** A gate that a rollout stands at. */
interface StandingGate {
  gate: string;
  /** epoch milliseconds; null: only a person opens it */
  opensAt: number | null;
  /** why it does not open by itself any more; null: it may */
  stuck: string | null;
}

/** What keeps a rollout from going on, by its own journal. */
export interface Standing {
  /** who has it stand still; null: nobody */
  pausedBy: string | null;
  /** null: it is at no gate */
  gate: StandingGate | null;
}

const GOING_ON: Standing = { pausedBy: null, gate: null };

/** @param before what it stood at when these entries began */
export function standing(entries: JournalEntry[], before = GOING_ON): Standing {
  return entries.reduce(onward, before);
}

/** Whether nothing moves before a person says so. */
export function needsPerson({ pausedBy, gate }: Standing): boolean {
  return pausedBy !== null || (gate !== null && gate.opensAt === null);
}

function onward(before: Standing, entry: JournalEntry): Standing {
  switch (entry.event) {
    case 'gate-reached': {
      const opensAt = entry.promotable && entry.ms === null ? null : entry.at + (entry.ms ?? 0);
      return { ...before, gate: { gate: entry.gate, opensAt, stuck: null } };
    }
    case 'gate-stuck':
      return { ...before, gate: { gate: entry.gate, opensAt: null, stuck: entry.reason } };
    case 'gate-passed':
      return before.gate?.gate === entry.gate ? { ...before, gate: null } : before;
    case 'paused':
      return { ...before, pausedBy: entry.by };
    case 'resumed':
      return { ...before, pausedBy: null };
    case 'ordered':
      return entry.how === 'abort' || entry.how === 'supersede' ? GOING_ON : before;
    case 'rollback-started':
    case 'rollout-finished':
      return GOING_ON;
    default:
      return before;
  }
}
