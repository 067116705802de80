import type Database from 'libsql';
import type { Fence } from '../domain/fence.ts';
import { UnideployError } from '../errors.ts';

/** What SQLite says when a trigger below refuses. */
const REFUSAL = 'UD_FENCED';

/**
 * Makes the database this fence's: from now on it refuses every write of a connection of a lower token, in the very
 * statement that would write. Triggers of this connection alone see to that, so a writer cannot forget to ask. Token 0
 * takes no database from anybody, and can read every one.
 *
 * @throws UD_FENCED when it is a higher one's already
 */
export function fenceWrites(db: Database.Database, { token }: Fence): void {
  // The triggers need no file of their own then, on a full disk, say.
  db.pragma('temp_store = MEMORY');
  db.exec('create table if not exists fence (one integer primary key check (one = 1), token integer) strict');
  const tables = db
    .prepare("select name from sqlite_master where type = 'table' and name not like 'sqlite_%'")
    .all() as { name: string }[];
  for (const { name } of tables)
    for (const event of ['insert', 'update', 'delete'])
      db.exec(`
        create temp trigger "fence_${name}_${event}" before ${event} on main."${name}"
        when (select token from fence) > ${token}
        begin select raise(abort, '${REFUSAL}'); end`);
  if (token === 0) return;
  try {
    db.prepare('insert or replace into fence (one, token) values (1, ?)').run(token);
  } catch (error) {
    throw translated(error);
  }
}

/** The store, with SQLite's refusals as the errors that they stand for. */
export function refusedByFence<S extends object>(store: S): S {
  return new Proxy(store, {
    get(target, name) {
      const member = Reflect.get(target, name) as unknown;
      if (typeof member !== 'function') return member;
      return (...args: unknown[]) => {
        try {
          return member.apply(target, args) as unknown;
        } catch (error) {
          throw translated(error);
        }
      };
    },
  });
}

function translated(error: unknown): unknown {
  if (!(error instanceof Error) || error.message !== REFUSAL) return error;
  return new UnideployError(
    'UD_FENCED',
    'the database of the state is under the command of a newer controller, and refuses this one',
    'nothing is to be done for this one; ask the newer one: unideploy status',
    { cause: error },
  );
}
