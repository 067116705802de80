import { isOrder, type JournalEntry, type OrderEntry } from '../domain/journal.ts';
import type { Revision } from '../domain/revision.ts';
import type { Rollout } from '../domain/rollout.ts';
import type { RoutingTable } from '../proxy/port.ts';
import type { RolloutStore } from './port.ts';

/** A store for rollouts that are only thought through: `plan`, and property tests. Nothing outlives it. */
export interface MemoryStore extends RolloutStore {
  /** the journal, oldest first */
  readonly entries: JournalEntry[];
  open(rollout: Rollout): void;
}

export function memoryStore(revisionOf: (service: string, number: number) => Revision | null): MemoryStore {
  const rollouts = new Map<number, Rollout>();
  const tables = new Map<string, RoutingTable>();
  const entries: JournalEntry[] = [];
  const store: MemoryStore = {
    entries,
    open: (rollout) => rollouts.set(rollout.id, rollout),
    revision: revisionOf,
    rollout: (id) => structuredClone(rollouts.get(id) ?? null),
    updateRollout: (rollout) => rollouts.set(rollout.id, structuredClone(rollout)),
    append: ({ id, service }, at, happening) => {
      const entry: JournalEntry = { ...happening, seq: entries.length + 1, service, rollout: id, at };
      entries.push(entry);
      return entry;
    },
    orders: (id, after) =>
      entries.filter(
        (entry): entry is OrderEntry => entry.rollout === id && entry.seq > after && isOrder(entry),
      ),
    record: (rollout, happened) => {
      store.updateRollout(rollout);
      for (const { at, happening } of happened) store.append(rollout, at, happening);
    },
    closeRollout: (rollout, happening) =>
      store.record(rollout, [{ at: rollout.endedAt ?? rollout.since, happening }]),
    removeService: (name) => {
      tables.delete(name);
    },
    table: (service) => tables.get(service) ?? null,
    putTable: (table) => {
      tables.set(table.service, table);
    },
  };
  return store;
}
