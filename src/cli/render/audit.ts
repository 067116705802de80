import type { JournalEntry } from '../../domain/journal.ts';
import { table } from './table.ts';
import { describe, oneLine, seconds } from './words.ts';

/** When, who, what: of every entry that says something to people. */
export function auditTable(entries: JournalEntry[]): string {
  const rows = entries.flatMap((entry) => {
    const what = told(entry);
    return what === null ? [] : [[timeOf(entry), entry.rollout, who(entry), what]];
  });
  return table(['when', 'rollout', 'who', 'what'], rows);
}

function timeOf({ at }: JournalEntry): string {
  return new Date(at).toISOString().slice(0, 23).replace('T', ' ');
}

/** A dash: the controller by itself. */
function who(entry: JournalEntry): string {
  if (entry.event === 'rollout-started') return entry.performer;
  return 'by' in entry && entry.by !== null ? entry.by : '–';
}

function told(entry: JournalEntry): string | null {
  if (entry.event !== 'rollout-finished') return describe(entry);
  const { verdict, ms, reason } = entry;
  return `${verdict} after ${seconds(ms)}${reason ? `: ${oneLine(reason)}` : ''}`;
}
