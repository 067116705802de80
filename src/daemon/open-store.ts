import { copyFile, readdir, rename, rm } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { type ErrorReport, UnideployError } from '../errors.ts';
import { everSeen } from '../hypervisor/qemu/traces.ts';
import { type Examined, examine, replaceFile } from '../store/good-copy.ts';
import type { Store } from '../store/port.ts';
import { isOlder, type Lesson, numbersOf, rebuilt } from '../store/rebuild.ts';
import { readRecords, recording } from '../store/records.ts';
import { findAll } from './found.ts';
import type { StatePaths } from './paths.ts';

/** Damaged databases that are kept for somebody to look into. */
const KEPT_ASIDE = 3;

export interface Opened {
  store: Store;
  /** what was wrong with the state, and what stands in its place; null: nothing was */
  restored: Restored | null;
  /** what was learned from what runs */
  lesson: Lesson;
}

export interface Restored {
  why: string;
  from: 'copy' | 'nothing' | 'what runs';
  /** where the damaged database is kept; null: there was none */
  aside: string | null;
}

const OLDER: Restored = {
  why: 'instances run that it does not know: it is older than they are',
  from: 'what runs',
  aside: null,
};

/**
 * Opens the store of a state whose lock is held. A database that is damaged, missing, or older than the last good copy is
 * kept aside, and the copy takes its place; whatever it does not know of what runs it learns.
 *
 * @param open how a database that can be relied on is opened
 * @param fromNothing where there is no good copy either, begin anew from what runs
 * @throws UD_STATE_DAMAGED when there is no good copy; UD_DISK_FULL and the like
 */
export async function openStore(
  paths: StatePaths,
  {
    now,
    open,
    fromNothing = false,
  }: { now: number; open: (file: string) => Promise<Store>; fromNothing?: boolean },
): Promise<Opened> {
  const restored = await restore(paths, now, fromNothing);
  const store = await open(paths.store);
  try {
    const found = await findAll(paths, restored !== null);
    const older = isOlder(store, found);
    // Where instances run that it has never heard of, what serves counts more than what it says.
    const all = restored !== null || older;
    const lesson = all
      ? rebuilt(store, restored ? found : await findAll(paths, true), now)
      : numbersOf(store, found);
    if (hasContent(lesson)) store.learn(lesson, now);
    return { store: recording(store, paths.records), restored: restored ?? (older ? OLDER : null), lesson };
  } catch (error) {
    store.close();
    throw error;
  }
}

/** What the log and the status say of it. */
export function restoredReport({ store }: StatePaths, { why, from, aside }: Restored): ErrorReport {
  const now = from === 'copy' ? 'its last good copy is in its place' : 'it was made anew';
  const kept = aside === null ? '' : `; what it was is kept as ${aside}`;
  return {
    code: 'UD_STATE_DAMAGED',
    message: `the database ${store} could not be relied on (${why}): ${now}, with what runs learned anew${kept}`,
    next: 'compare unideploy status and unideploy history with what you know; the next start of the controller is silent about it',
  };
}

/** What is to be done with the database of a state, without doing it. */
export type Diagnosis =
  | { kind: 'good' }
  | { kind: 'fresh' }
  | { kind: 'from-copy'; why: string }
  | { kind: 'lost'; why: string };

export async function diagnose(paths: StatePaths): Promise<Diagnosis> {
  const [own, copy] = [examine(paths.store), examine(paths.copy)];
  const why = problemOf(own, copy);
  if (why === null) return { kind: 'good' };
  if (copy.kind === 'good') return { kind: 'from-copy', why };
  if (own.kind === 'damaged') return { kind: 'lost', why };
  return (await isUsed(paths)) ? { kind: 'lost', why } : { kind: 'fresh' };
}

function problemOf(own: Examined, copy: Examined): string | null {
  if (own.kind === 'missing') return 'it is missing';
  if (own.kind === 'damaged') return own.why;
  if (copy.kind !== 'good' || own.position >= copy.position) return null;
  return `it has lost entries: its journal ends at ${own.position}, that of its copy at ${copy.position}`;
}

/** A state that has none yet is not one that has lost it. */
async function isUsed(paths: StatePaths): Promise<boolean> {
  return (await everSeen(paths.root)).length > 0 || readRecords(paths.records).services.length > 0;
}

async function restore(paths: StatePaths, now: number, fromNothing: boolean): Promise<Restored | null> {
  const diagnosis = await diagnose(paths);
  if (diagnosis.kind === 'good' || diagnosis.kind === 'fresh') return null;
  const { kind, why } = diagnosis;
  if (kind === 'lost' && !fromNothing)
    throw new UnideployError(
      'UD_STATE_DAMAGED',
      `the database ${paths.store} cannot be used (${why}), and there is no good copy of it`,
      'rebuild it from what runs, which goes on serving meanwhile: unideploy recover',
    );
  const fresh = `${paths.store}.new`;
  // First the copy, whole: on a full disk nothing has changed then.
  if (kind === 'from-copy') await copyFile(paths.copy, fresh);
  else await rm(paths.copy, { force: true });
  const aside = await setAside(paths.store, now);
  if (kind === 'from-copy') replaceFile(fresh, paths.store);
  return { why, from: kind === 'from-copy' ? 'copy' : 'nothing', aside };
}

/** The database and what SQLite keeps beside it. */
async function setAside(file: string, now: number): Promise<string | null> {
  const stamp = new Date(now).toISOString().replaceAll(/[-:]|\.\d+/g, '');
  const aside = `${file}.bad-${stamp}`;
  const moved = await Promise.all(
    ['', '-wal'].map((ending) =>
      rename(`${file}${ending}`, `${aside}${ending}`).then(
        () => true,
        (error: NodeJS.ErrnoException) => {
          if (error.code !== 'ENOENT') throw error;
          return false;
        },
      ),
    ),
  );
  await rm(`${file}-shm`, { force: true });
  await forgetOldest(file);
  return moved.includes(true) ? aside : null;
}

/** Databases that were set aside, the oldest first. */
async function setAsideBefore(file: string): Promise<string[]> {
  const begins = `${basename(file)}.bad-`;
  const names = await readdir(dirname(file)).catch(() => []);
  return names.filter((name) => name.startsWith(begins) && !name.endsWith('-wal')).sort();
}

async function forgetOldest(file: string): Promise<void> {
  for (const name of (await setAsideBefore(file)).slice(0, -KEPT_ASIDE))
    for (const ending of ['', '-wal']) await rm(join(dirname(file), `${name}${ending}`), { force: true });
}

function hasContent({
  services,
  revisions,
  tables,
  launched,
  ended,
  lastRevision,
  ...rest
}: Lesson): boolean {
  const lists = [services, revisions, tables, launched, ended];
  return lists.some((list) => list.length > 0) || lastRevision.size > 0 || rest.lastRollout > 0;
}
