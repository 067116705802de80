import { leftovers } from '../engine/leftovers.ts';
import { readRecords } from '../store/records.ts';
import { sqliteStore } from '../store/sqlite.ts';
import { ownersOf, things } from './debris.ts';
import { diagnose } from './open-store.ts';
import type { StatePaths } from './paths.ts';

/** A state folder without a controller, as it is found. */
interface Inspection {
  /** what is wrong with its database; null: nothing is. `isLost`: there is no good copy either */
  damage: { why: string; isLost: boolean } | null;
  /** what nobody owns, in sentences */
  left: string[];
}

/** Looks at a state that no controller has, and changes nothing. */
export async function inspect(paths: StatePaths): Promise<Inspection> {
  const diagnosis = await diagnose(paths);
  const damage = 'why' in diagnosis ? { why: diagnosis.why, isLost: diagnosis.kind === 'lost' } : null;
  // What was lost with the database may own anything: then only what has no run directory is nobody's for sure.
  if (damage !== null) return { damage, left: [] };
  const owners =
    diagnosis.kind === 'good' ? ownersIn(paths) : { services: recorded(paths), routed: new Set<string>() };
  return { damage, left: leftovers(await things(paths), owners).map(({ why }) => why) };
}

function ownersIn(paths: StatePaths): ReturnType<typeof ownersOf> {
  const store = sqliteStore(paths.store);
  try {
    return ownersOf(store);
  } finally {
    store.close();
  }
}

function recorded(paths: StatePaths): Set<string> {
  return new Set(readRecords(paths.records).services.map(({ name }) => name));
}
