import type { Clock } from '../domain/clock.ts';
import type { Happening } from '../domain/journal.ts';
import type { Store } from '../store/port.ts';

export interface ServiceJournalParts {
  store: Pick<Store, 'rollouts' | 'append'>;
  clock: Pick<Clock, 'now'>;
  onJournal: (rollout: number) => void;
}

/** Writes what happened to a service outside of any rollout into its journal, which is that of its last one. */
export function noteOf(
  { store, clock, onJournal }: ServiceJournalParts,
  service: string,
  happening: Happening,
): void {
  const id = store.rollouts(service, 1)[0]?.id ?? 0;
  store.append({ id, service }, clock.now(), happening);
  onJournal(id);
}
