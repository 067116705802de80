import { constants } from 'node:fs';
import { access, chmod, mkdir, open, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { digestFile, digestText } from '../artifact/digest.ts';
import { canonical } from '../domain/revision.ts';
import type { SavedFile, Snapshot } from '../domain/snapshot.ts';
import { UnideployError } from '../errors.ts';

/** The files of a snapshot, in its folder. */
export const SNAPSHOT_FILES = { record: 'snapshot.json', disk: 'root.qcow2', memory: 'state' } as const;

/** One that is being written: nobody finds it before it is finished. */
export interface Draft {
  /** where its files go */
  folder: string;
  /** Reads its files once more, writes down what it is, and has it count. */
  finish(of: Omit<Snapshot, 'disk' | 'memory'>): Promise<Snapshot>;
  /** Removes all of it; one that is finished stays. */
  discard(): Promise<void>;
}

/** `snapshot` null: its record cannot be relied on. */
export interface Listed {
  id: string;
  snapshot: Snapshot | null;
}

/** Snapshots of whole instances, each a folder that is made whole or not at all and never changed. */
export class SnapshotCatalogue {
  readonly #root: string;

  /** @param root `<state>/snapshots` */
  constructor(root: string) {
    this.#root = root;
  }

  /** Those of one service, newest first. */
  async list(service: string): Promise<Listed[]> {
    const ids = (await namesIn(this.#path(service))).filter((name) => !name.startsWith('.'));
    const found = await Promise.all(
      ids.map(async (id) => ({ id, snapshot: await this.need(service, id).catch(unlessDamaged) })),
    );
    return found.sort((a, b) => (b.snapshot?.createdAt ?? 0) - (a.snapshot?.createdAt ?? 0));
  }

  /** Every snapshot that can be relied on. */
  async all(): Promise<Snapshot[]> {
    const services = await namesIn(this.#root);
    const listed = await Promise.all(services.map((service) => this.list(service)));
    return listed.flat().flatMap(({ snapshot }) => snapshot ?? []);
  }

  /** @throws UD_UNKNOWN_SNAPSHOT; UD_ARTIFACT_CORRUPT when its record is torn, or was changed */
  async need(service: string, id: string): Promise<Snapshot> {
    const path = this.path(service, id, 'record');
    const text = await readFile(path, 'utf8').catch((error: NodeJS.ErrnoException) => {
      if (error.code !== 'ENOENT' && error.code !== 'ENOTDIR') throw error;
      throw unknownSnapshot(service, id);
    });
    const snapshot = unsealed(text);
    if (snapshot?.id === id && snapshot.service === service) return snapshot;
    throw damaged(id, 'its record is not what was written');
  }

  /**
   * Reads its files again: before anything is touched it is known that they are what was saved.
   * @throws UD_ARTIFACT_MISSING, UD_ARTIFACT_CORRUPT
   */
  async verify(snapshot: Snapshot): Promise<void> {
    for (const which of ['disk', 'memory'] as const) {
      const file = snapshot[which];
      if (file === null) continue;
      const path = this.path(snapshot.service, snapshot.id, which);
      const found = await digestFile(path).catch((error: NodeJS.ErrnoException) => {
        if (error.code !== 'ENOENT') throw error;
        throw missingFile(snapshot.id, which);
      });
      if (found !== file.digest) throw damaged(snapshot.id, `its ${which} has other bytes than were saved`);
    }
  }

  path(service: string, id: string, file: keyof typeof SNAPSHOT_FILES): string {
    return join(this.#path(service, id), SNAPSHOT_FILES[file]);
  }

  /** @throws UD_LOCKED when there is one of that id */
  async begin(service: string, id: string): Promise<Draft> {
    const target = this.#path(service, id);
    // With the number of whoever is at it: what a dead one leaves is found by that.
    const folder = this.#path(service, `.${id}.${process.pid}.new`);
    await mkdir(this.#path(service), { recursive: true, mode: 0o700 });
    if (await exists(target)) throw taken(id);
    await mkdir(folder, { mode: 0o700 }).catch((error: NodeJS.ErrnoException) => {
      throw error.code === 'EEXIST' ? taken(id) : error;
    });
    const saved = async (which: 'disk' | 'memory'): Promise<SavedFile | null> => {
      const path = join(folder, SNAPSHOT_FILES[which]);
      if (!(await exists(path))) return null;
      await chmod(path, 0o400);
      return { digest: await digestFile(path), bytes: (await stat(path)).size };
    };
    return {
      folder,
      finish: async (of) => {
        const snapshot = { ...of, disk: await saved('disk'), memory: await saved('memory') };
        const record = join(folder, SNAPSHOT_FILES.record);
        await writeFile(record, sealed(snapshot), { mode: 0o400 });
        for (const path of [record, folder]) await sync(path);
        await rename(folder, target);
        await sync(this.#path(service));
        return snapshot;
      },
      discard: () => rm(folder, { recursive: true, force: true }),
    };
  }

  /** One that is gone already is no error. */
  async remove(service: string, id: string): Promise<void> {
    const leaving = this.#path(service, `.${id}.${process.pid}.new`);
    // One that is half removed is none any more.
    await rename(this.#path(service, id), leaving).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== 'ENOENT') throw error;
    });
    await rm(leaving, { recursive: true, force: true });
  }

  /** A name may come from outside, and may name nothing else. */
  #path(service: string, id?: string): string {
    for (const name of [service, ...(id === undefined ? [] : [id])])
      if (!/^\.?[A-Za-z0-9][A-Za-z0-9._-]{0,120}$/.test(name)) throw unknownSnapshot(service, id ?? '');
    return id === undefined ? join(this.#root, service) : join(this.#root, service, id);
  }
}

export function unknownSnapshot(service: string, id: string): UnideployError {
  return new UnideployError(
    'UD_UNKNOWN_SNAPSHOT',
    `${service} has no snapshot ${id}`,
    `see those that there are: unideploy snapshot ls --service ${service}`,
  );
}

function missingFile(id: string, which: string): UnideployError {
  return new UnideployError(
    'UD_ARTIFACT_MISSING',
    `the ${which} of snapshot ${id} is not there any more`,
    'restore another one: unideploy snapshot ls',
  );
}

function damaged(id: string, why: string): UnideployError {
  return new UnideployError(
    'UD_ARTIFACT_CORRUPT',
    `snapshot ${id} cannot be relied on: ${why}`,
    `restore another one, and remove this one: unideploy snapshot rm ${id}`,
  );
}

function taken(id: string): UnideployError {
  return new UnideployError('UD_LOCKED', `snapshot ${id} is there, or being taken`, 'try again in a second');
}

function sealed(snapshot: Snapshot): string {
  return JSON.stringify({ ...snapshot, seal: digestText(canonical(snapshot)) }, null, 2);
}

/** Null for what is torn, or not what was sealed. */
function unsealed(text: string): Snapshot | null {
  try {
    const { seal, ...snapshot } = JSON.parse(text) as Snapshot & { seal: string };
    return digestText(canonical(snapshot)) === seal ? snapshot : null;
  } catch {
    return null;
  }
}

function unlessDamaged(error: unknown): null {
  const known = error instanceof UnideployError;
  if (known && (error.code === 'UD_ARTIFACT_CORRUPT' || error.code === 'UD_UNKNOWN_SNAPSHOT')) return null;
  throw error;
}

async function namesIn(folder: string): Promise<string[]> {
  return await readdir(folder).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'ENOENT') throw error;
    return [];
  });
}

async function exists(path: string): Promise<boolean> {
  return await access(path, constants.F_OK).then(
    () => true,
    () => false,
  );
}

/** A name is on the disk only when its folder is. */
async function sync(path: string): Promise<void> {
  const handle = await open(path);
  await handle.sync().finally(() => handle.close());
}
