import type { JournalEntry } from '../../../src/domain/journal.ts';
import { eventually } from '../qemu/asking.ts';
import type { Running, Workplace } from './workplace.ts';

/** A command with `--json` that runs, and what it has said so far. */
export interface Following extends Running {
  /** Waits until it tells of this; `that`: and of none but one that is so. */
  hears<E extends JournalEntry['event']>(
    event: E,
    that?: (entry: Extract<JournalEntry, { event: E }>) => boolean,
  ): Promise<Extract<JournalEntry, { event: E }>>;
}

/** Longer than anything that a scenario waits for. */
const DEADLINE = 60_000;

/** Starts a command that follows a rollout. */
export function following(place: Workplace, args: string[]): Following {
  const running = place.start([...args, '--json']);
  return {
    ...running,
    async hears<E extends JournalEntry['event']>(
      event: E,
      that: (entry: Extract<JournalEntry, { event: E }>) => boolean = () => true,
    ) {
      type Entry = Extract<JournalEntry, { event: E }>;
      let found: Entry | undefined;
      const heard = () => {
        found = entriesOf(running.said()).find(
          (entry) => entry.event === event && that(entry as Entry),
        ) as Entry;
        return found !== undefined;
      };
      await eventually(`${args.join(' ')} tells of ${event}`, heard, DEADLINE, 5).catch((error: Error) => {
        throw new Error(`${error.message}, only of:\n${running.said()}`);
      });
      return found as unknown as Entry;
    },
  };
}

/** Whole lines only: the last one may still be on its way. */
function entriesOf(said: string): JournalEntry[] {
  return said
    .split('\n')
    .slice(0, -1)
    .filter(Boolean)
    .map((line) => JSON.parse(line) as JournalEntry);
}
