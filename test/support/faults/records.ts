import { join } from 'node:path';
import Database from 'libsql';
import type { Happening, JournalEntry } from '../../../src/domain/journal.ts';
import type { RevisionSpec } from '../../../src/domain/revision.ts';
import type { Rollout } from '../../../src/domain/rollout.ts';
import type { Workplace } from '../cli/workplace.ts';

/** What a state's store says, read past the controller: it may be dead. */
export interface Records {
  lastRollout(): Rollout | null;
  rollout(id: number): Rollout | null;
  journal(rollout: number): JournalEntry[];
  revision(number: number): RevisionSpec;
  close(): void;
}

export function recordsIn({ state }: Workplace): Records {
  const db = new Database(join(state, 'state.db'), { readonly: true });
  const last = db.prepare('select id, body from rollouts order by id desc limit 1');
  const one = db.prepare('select id, body from rollouts where id = ?');
  const read = (row: unknown): Rollout | null => {
    if (!row) return null;
    const { id, body } = row as { id: number; body: string };
    return { ...(JSON.parse(body) as Rollout), id };
  };
  const entries = db.prepare('select * from journal where rollout = ? order by seq');
  const revision = db.prepare('select body from revisions where number = ?');
  return {
    lastRollout: () => read(last.get()),
    rollout: (id) => read(one.get(id)),
    journal: (rollout) =>
      (entries.all(rollout) as (Omit<JournalEntry, 'event'> & { body: string })[]).map(
        ({ body, ...row }) => ({
          ...(JSON.parse(body) as Happening),
          ...row,
        }),
      ) as JournalEntry[],
    revision: (number) => JSON.parse((revision.get(number) as { body: string }).body) as RevisionSpec,
    close: () => void db.close(),
  };
}
