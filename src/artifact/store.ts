import { randomUUID } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { access, chmod, mkdir, open, readdir, rename, rm, stat, utimes } from 'node:fs/promises';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { finished } from 'node:stream/promises';
import type { Digest } from '../domain/revision.ts';
import { UnideployError } from '../errors.ts';
import { digestFile, isDigest } from './digest.ts';
import { writeHashed } from './write-hashed.ts';

/** Tells this process's unfinished files from those of an earlier one that had the same process id. */
const PROCESS = randomUUID().slice(0, 8);
const UNFINISHED = /^\.put-(\d+)-([0-9a-f]{8})-/;

const STORED = /^[0-9a-f]{64}(\.corrupt)?$/;

/** A file of the store: a digest's bytes, or what was found in their place (`….corrupt`). */
export interface StoredFile {
  name: string;
  digest: Digest;
  /** of the disk that it takes: holes cost nothing */
  bytes: number;
  /** when it was last put in, or asked for, epoch milliseconds */
  wantedAt: number;
}

/** Files named by the SHA-256 of their bytes: read-only, whole, never changed. */
export class ContentStore {
  readonly #folder: string;

  private constructor(folder: string) {
    this.#folder = folder;
  }

  /** Opens the store, makes its folder, and removes what dead writers left. */
  static async open(folder: string): Promise<ContentStore> {
    await mkdir(folder, { recursive: true });
    for (const name of await readdir(folder))
      if (isAbandoned(name)) await rm(join(folder, name), { force: true });
    return new ContentStore(folder);
  }

  /** Where the bytes of a digest are, or would be. */
  path(digest: Digest): string {
    // A digest may come from outside: nothing else may name a file here.
    if (!isDigest(digest)) throw corrupt(`"${digest}" is no SHA-256 digest`);
    return join(this.#folder, digest);
  }

  async has(digest: Digest): Promise<boolean> {
    return access(this.path(digest)).then(
      () => true,
      () => false,
    );
  }

  /** Whether it is there; from now on it counts as asked for just now. */
  async want(digest: Digest): Promise<boolean> {
    const now = new Date();
    return utimes(this.path(digest), now, now).then(
      () => true,
      (error: NodeJS.ErrnoException) => {
        if (error.code === 'ENOENT') return false;
        throw error;
      },
    );
  }

  /** All files that are whole, those set aside among them, in the order of their names. */
  async list(): Promise<StoredFile[]> {
    const names = (await readdir(this.#folder)).filter((name) => STORED.test(name)).sort();
    const stats = await Promise.all(names.map((name) => stat(join(this.#folder, name)).catch(() => null)));
    return names.flatMap((name, index) => {
      const found = stats[index];
      if (!found) return [];
      const { blocks, mtimeMs } = found;
      return [{ name, digest: name.slice(0, 64), bytes: blocks * 512, wantedAt: mtimeMs }];
    });
  }

  /** @throws UD_ARTIFACT_MISSING */
  async read(digest: Digest): Promise<{ size: number; bytes: Readable }> {
    const file = await open(this.path(digest)).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== 'ENOENT') throw error;
      throw missing(digest);
    });
    const { size } = await file.stat();
    return { size, bytes: file.createReadStream() };
  }

  /** Removes a file; one that is gone already is no error. */
  async remove({ name }: Pick<StoredFile, 'name'>): Promise<void> {
    await rm(join(this.#folder, name), { force: true });
  }

  /**
   * Takes in bytes that must have this digest; a digest that is there already stays as it is.
   * @throws UD_ARTIFACT_CORRUPT when they have another; nothing stays of them
   */
  async put(source: Readable | string, digest: Digest): Promise<void> {
    const target = this.path(digest);
    if (await this.want(digest)) return readOut(source);
    const stream = typeof source === 'string' ? createReadStream(source, { highWaterMark: 1 << 18 }) : source;
    const unfinished = join(this.#folder, `.put-${process.pid}-${PROCESS}-${randomUUID()}`);
    try {
      const found = await writeHashed(stream, unfinished);
      if (found !== digest) throw corrupt(`bytes said to have the digest ${digest} have ${found}`);
      await chmod(unfinished, 0o444);
      await rename(unfinished, target);
      await syncFolder(this.#folder);
    } finally {
      await rm(unfinished, { force: true });
    }
  }

  /**
   * Reads a file again. One whose bytes have changed is set aside, so that it can be put anew.
   * @throws UD_ARTIFACT_CORRUPT when its bytes have changed, UD_FILE_NOT_FOUND when it is not there
   */
  async verify(digest: Digest): Promise<void> {
    const path = this.path(digest);
    if (!(await this.has(digest)))
      throw new UnideployError(
        'UD_FILE_NOT_FOUND',
        `the store has no ${digest}`,
        'deploy again to put it there',
      );
    const found = await digestFile(path);
    if (found === digest) return;
    await rename(path, `${path}.corrupt`);
    throw corrupt(`the stored file ${digest} has changed, its bytes have ${found}; it was set aside`);
  }
}

export function missing(digest: Digest): UnideployError {
  return new UnideployError(
    'UD_ARTIFACT_MISSING',
    `artifact ${digest.slice(0, 12)} is not in the store any more`,
    'deploy it again from its sources: unideploy rollout',
  );
}

/** A sender of bytes that are not wanted still waits for its answer: its stream is read to the end, not cut. */
async function readOut(source: Readable | string): Promise<void> {
  if (typeof source !== 'string') await finished(source.resume(), { writable: false });
}

function isAbandoned(name: string): boolean {
  const [, pid, writer] = UNFINISHED.exec(name) ?? [];
  if (pid === undefined) return false;
  return Number(pid) === process.pid ? writer !== PROCESS : !isAlive(Number(pid));
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}

function corrupt(message: string): UnideployError {
  return new UnideployError('UD_ARTIFACT_CORRUPT', message, 'build and deploy again');
}

/** A rename is on the disk only when its folder is. */
async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder);
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}
