import { expect } from 'vitest';
import type { JournalEntry } from '../../../src/domain/journal.ts';
import { failedOf, type Ledger } from '../http/load.ts';
import { eventually } from '../qemu/asking.ts';
import { end } from './processes.ts';
import { counted } from './under-load.ts';
import type { Workplace } from './workplace.ts';

type SickEntry = Extract<JournalEntry, { event: 'sick' }>;

/** What was seen of a guest that went wrong, and was replaced. */
interface Repaired {
  sick: SickEntry;
  /** epoch milliseconds at which it began to go wrong */
  began: number;
  ledger: Ledger;
  /** the most requests that it had in flight */
  inFlight: number;
}

/** Has one guest go wrong under load, and waits until another one serves in its place. */
export async function repaired(
  place: Workplace,
  befall: (instance: string) => Promise<void>,
  deadlineMs = 30_000,
  instance?: string,
): Promise<Repaired> {
  const victim = instance ?? (await anyInstance(place));
  let began = 0;
  let inFlight = 0;
  const [, ledger] = await counted(place, async () => {
    began = Date.now();
    await befall(victim);
    const isReplaced = async () => {
      const { instances } = await place.status();
      const found = instances.find(({ id }) => id === victim);
      inFlight = Math.max(inFlight, found?.inFlight ?? 0);
      return found === undefined && (await whole(place));
    };
    await eventually(`${victim} is replaced`, isReplaced, deadlineMs);
  });
  const entries = (await place.cli(['audit', '--json'])).lines as JournalEntry[];
  const sick = entries.find((each): each is SickEntry => each.event === 'sick' && each.instance === victim);
  if (!sick) throw new Error(`nothing is said of ${victim}`);
  return { sick, began, ledger, inFlight };
}

/** Expects that clients have seen no failure, but of requests that were in flight on that guest. */
export function noOtherFailed({ ledger, inFlight }: Repaired): void {
  expect(failedOf(ledger), JSON.stringify(ledger.failures)).toBeLessThanOrEqual(inFlight);
}

/** All instances serve, and nothing is under way. */
export async function whole(place: Workplace): Promise<boolean> {
  const { instances, open, goal } = await place.status();
  const serving = instances.filter((i) => i.weight > 0 && i.verified && i.health === 'healthy' && i.usable);
  return open === null && instances.length === goal.replicas && serving.length === goal.replicas;
}

export async function anyInstance(place: Workplace): Promise<string> {
  const { instances } = await place.status();
  const found = instances.find(({ weight }) => weight > 0);
  if (!found) throw new Error('nothing serves');
  return found.id;
}

/** Ends the process of a guest, as the kernel would. */
export async function kill(place: Workplace, instance: string): Promise<void> {
  end((await place.guestPids())[instance] ?? 0, 'SIGKILL');
}
