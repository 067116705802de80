import type { JournalEntry } from '../../../src/domain/journal.ts';
import type { Target } from './fault.ts';

/** An entry of a journal as it is met again in another rollout of the same kind: the `nth` of its sort, from 1. */
export interface Moment {
  sort: string;
  nth: number;
}

/** `action-finished swapVolume`, `gate-reached bake`. */
function sortOf(entry: JournalEntry): string {
  if ('action' in entry) return `${entry.event} ${entry.action.kind}`;
  return 'gate' in entry ? `${entry.event} ${entry.gate}` : entry.event;
}

/** The moments of a planned rollout at which there is something to strike. Who waits for what is a matter of time, and left out. */
export function momentsOf(steps: JournalEntry[], target: Target): Moment[] {
  const seen = new Map<string, number>();
  const moments: (Moment & { at: number })[] = [];
  for (const [at, entry] of steps.entries()) {
    if (entry.event === 'waiting') continue;
    const sort = sortOf(entry);
    const nth = (seen.get(sort) ?? 0) + 1;
    seen.set(sort, nth);
    moments.push({ sort, nth, at });
  }
  const first = steps.findIndex((entry) => isStep(entry, 'action-finished', 'launch', 'swapVolume'));
  const last = steps.findLastIndex((entry) => isStep(entry, 'action-started', 'retire', 'swapVolume'));
  const counts = ({ at }: { at: number }) => {
    if (target === 'new') return at >= first;
    return target !== 'old' || at < last;
  };
  return moments.filter(counts).map(({ sort, nth }) => ({ sort, nth }));
}

/** Whether the journal has come to it. */
export function isReached({ sort, nth }: Moment, journal: JournalEntry[]): boolean {
  return journal.filter((entry) => sortOf(entry) === sort).length >= nth;
}

function isStep(entry: JournalEntry, event: string, ...kinds: string[]): boolean {
  return entry.event === event && 'action' in entry && kinds.includes(entry.action.kind);
}
