import {
  accessSync,
  closeSync,
  constants,
  existsSync,
  fsyncSync,
  openSync,
  renameSync,
  rmSync,
  statSync,
} from 'node:fs';
import { dirname } from 'node:path';
import Database from 'libsql';
import { isHostTrouble } from '../errors.ts';

/** What a state's database has; each with the column that is JSON. */
const TABLES = { services: 'body', revisions: 'body', rollouts: 'body', journal: 'body', tables: 'body' };

/** What was found of a database file. */
export type Examined =
  | { kind: 'missing' }
  | { kind: 'damaged'; why: string }
  /** `position`: of the last entry of its journal */
  | { kind: 'good'; position: number };

/**
 * Reads a whole database file, and the log beside it, and says whether it can be relied on. A file of no bytes counts as
 * missing; one that has lost its `-wal` is whole, and lacks tables or entries.
 * Throws what is the host's trouble, not the file's.
 */
export function examine(file: string): Examined {
  if (!existsSync(file) || statSync(file).size === 0) return { kind: 'missing' };
  let db: Database.Database | null = null;
  try {
    db = openDatabase(file);
    return problemOf(db) ?? { kind: 'good', position: positionOf(db) };
  } catch (error) {
    if (isHostTrouble(error)) throw error;
    return { kind: 'damaged', why: (error as Error).message };
  } finally {
    db?.close();
  }
}

/** Opens a database, made if it is not there. Throws what the system says where it cannot: SQLite tells nobody why. */
export function openDatabase(file: string, options?: Database.Options): Database.Database {
  if (file !== ':memory:') makeReachable(file);
  return new Database(file, options);
}

/**
 * A file that is there is never opened here: to close it again would take this process's locks from it, those of SQLite
 * too. SQLite would not notice, and any other program that looks into the database would then remove what was last written.
 */
function makeReachable(file: string): void {
  try {
    closeSync(openSync(file, 'ax', 0o600));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    accessSync(file, constants.R_OK | constants.W_OK);
  }
}

/**
 * Makes `file` a verified copy of the database, whole or not at all: the one before stays until the new one is on the
 * disk. Takes about as long as reading the database once and writing it once.
 */
export function copyDatabase(db: Database.Database, file: string): void {
  const fresh = `${file}.new`;
  try {
    rmSync(fresh, { force: true });
    db.prepare('vacuum into ?').run(fresh);
    const found = examine(fresh);
    if (found.kind !== 'good') throw new Error(`the copy is ${'why' in found ? found.why : found.kind}`);
    replaceFile(fresh, file);
  } finally {
    for (const each of [fresh, `${fresh}-wal`, `${fresh}-shm`, `${fresh}-journal`])
      rmSync(each, { force: true });
  }
}

/** Puts a file in the place of another, so that a loss of power leaves the one or the other. */
export function replaceFile(fresh: string, file: string): void {
  sync(fresh);
  renameSync(fresh, file);
  sync(dirname(file));
}

function problemOf(db: Database.Database): Examined | null {
  const [first] = db.prepare('pragma quick_check(1)').all() as { quick_check: string }[];
  if (first?.quick_check !== 'ok')
    return { kind: 'damaged', why: first?.quick_check ?? 'it cannot be checked' };
  const rows = db.prepare("select name from sqlite_master where type = 'table'").all() as { name: string }[];
  const lacks = Object.keys(TABLES).filter((table) => !rows.some(({ name }) => name === table));
  if (lacks.length > 0) return { kind: 'damaged', why: `it lacks ${lacks.join(', ')}` };
  for (const [table, column] of Object.entries(TABLES)) {
    const sql = `select count(*) as torn from ${table} where not json_valid(${column})`;
    const { torn } = db.prepare(sql).get() as { torn: number };
    if (torn > 0) return { kind: 'damaged', why: `${torn} of its ${table} cannot be read` };
  }
  return null;
}

function positionOf(db: Database.Database): number {
  const row = db.prepare('select coalesce(max(seq), 0) as position from journal').get();
  return (row as { position: number }).position;
}

function sync(path: string): void {
  const descriptor = openSync(path, 'r');
  try {
    fsyncSync(descriptor);
  } finally {
    closeSync(descriptor);
  }
}
