import { copyFile, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ContentStore } from '../artifact/store.ts';
import type { Fence } from '../domain/fence.ts';
import { artifactsOf, type Revision } from '../domain/revision.ts';
import type { UnideployError } from '../errors.ts';
import type { Store } from '../store/port.ts';
import { isOlder, rebuilt } from '../store/rebuild.ts';
import { sqliteStore } from '../store/sqlite.ts';
import { findAll } from './found.ts';
import { takeLease } from './lease.ts';
import { diagnose, openStore } from './open-store.ts';
import type { StatePaths } from './paths.ts';

/** What became of a state, or would. */
export interface Recovery {
  /** `whole`: there was nothing to do; `copy`: the last good copy is the state; `runs`: it was made from what runs */
  from: 'whole' | 'copy' | 'runs';
  /** what was wrong; null: nothing was */
  why: string | null;
  /** where the damaged database is kept */
  aside: string | null;
  /** what was found, and what nobody can know, in sentences */
  told: string[];
}

/**
 * Makes the state of a controller that does not run anew: from the last good copy, and from what runs, serves and was
 * written down. Guests and data plane go on meanwhile; nothing of them is touched.
 *
 * @param dryRun say what would be done, and do nothing
 * @throws UD_CONTROLLER_RUNNING; UD_DISK_FULL and the like
 */
export async function recover(
  paths: StatePaths,
  { now, dryRun }: { now: number; dryRun: boolean },
): Promise<Recovery> {
  const onLost = (error: UnideployError) => {
    throw error;
  };
  const { fence, release } = await takeLease(paths, { log: () => {}, onLost });
  try {
    return await (dryRun ? imagine(paths, now) : perform(paths, now, fence));
  } finally {
    release();
  }
}

async function perform(paths: StatePaths, now: number, fence: Fence): Promise<Recovery> {
  const { store, restored, lesson } = await openStore(paths, {
    now,
    fromNothing: true,
    open: async (file) => sqliteStore(file, fence),
  });
  try {
    store.copyTo(paths.copy);
    const missing = await missingArtifacts(
      paths,
      store.services().flatMap(({ name }) => store.revisions(name)),
    );
    const from = restored === null ? 'whole' : restored.from === 'copy' ? 'copy' : 'runs';
    const { why = null, aside = null } = restored ?? {};
    return { from, why, aside, told: [...lesson.told, ...missing] };
  } finally {
    store.close();
  }
}

/** The same in a copy, in another folder. */
async function imagine(paths: StatePaths, now: number): Promise<Recovery> {
  const diagnosis = await diagnose(paths);
  const folder = await mkdtemp(join(tmpdir(), 'unideploy-recover-'));
  try {
    const file = join(folder, 'state.db');
    if (diagnosis.kind === 'good')
      for (const ending of ['', '-wal']) await copyThere(paths.store, file, ending);
    if (diagnosis.kind === 'from-copy') await copyFile(paths.copy, file);
    const store = sqliteStore(file);
    try {
      return await imagined(paths, store, diagnosis, now);
    } finally {
      store.close();
    }
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

async function imagined(
  paths: StatePaths,
  store: Store,
  diagnosis: Awaited<ReturnType<typeof diagnose>>,
  now: number,
): Promise<Recovery> {
  const found = await findAll(paths, true);
  const why = 'why' in diagnosis ? diagnosis.why : null;
  if (why === null && !isOlder(store, found)) return { from: 'whole', why, aside: null, told: [] };
  const lesson = rebuilt(store, found, now);
  const revisions = [...lesson.revisions, ...store.services().flatMap(({ name }) => store.revisions(name))];
  const told = [...lesson.told, ...(await missingArtifacts(paths, revisions))];
  return { from: diagnosis.kind === 'from-copy' ? 'copy' : 'runs', why, aside: null, told };
}

async function copyThere(from: string, to: string, ending: string): Promise<void> {
  await copyFile(`${from}${ending}`, `${to}${ending}`).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'ENOENT') throw error;
  });
}

/** Revisions that cannot be launched any more. */
async function missingArtifacts({ artifacts }: StatePaths, revisions: Revision[]): Promise<string[]> {
  const store = await ContentStore.open(artifacts);
  const told = new Set<string>();
  for (const revision of revisions) {
    const there = await Promise.all(artifactsOf(revision).map((digest) => store.has(digest)));
    if (there.includes(false))
      told.add(
        `${revision.service}: revision ${revision.number} cannot be launched: the store lacks files of it`,
      );
  }
  return [...told];
}
