import { createReadStream, type ReadStream } from 'node:fs';
import { chmod, mkdir, open, readdir, rename, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { digestFile } from '../artifact/digest.ts';
import type { Clock } from '../domain/clock.ts';
import { copyIdAt, type DataCopy } from '../domain/data-copy.ts';
import { type Fence, UNFENCED } from '../domain/fence.ts';
import type { Progress } from '../domain/progress.ts';
import { type DataVolume, dataOf } from '../domain/revision.ts';
import { type Keeping, stillMeanwhile } from '../engine/data.ts';
import { UnideployError } from '../errors.ts';
import { readJson, writeAtomically } from '../hypervisor/qemu/run-directory.ts';
import type { Store } from '../store/port.ts';
import { noteOf } from './service-journal.ts';

interface VolumeCopiesParts extends Keeping {
  store: Pick<Store, 'service' | 'revision' | 'rollouts' | 'append'>;
  onJournal: (rollout: number) => void;
  clock: Pick<Clock, 'now'>;
  fence?: Fence;
}

/** How a copy is to be made. */
export interface CopyWish {
  /** whole, also where only what has changed would do */
  full: boolean;
  /** bytes a second; 0: as many as there can be */
  rate: number;
  /** whose word it is */
  performer: string;
}

const NAME = /^[a-z][a-z0-9-]{0,19}$/;
const ID = /^[0-9-]{1,20}$/;

/**
 * The copies of data volumes: `<state>/copies/<service>/<volume>/<id>.qcow2`, each with a record beside it, which comes last. A
 * file without one is none. Nothing but a person's word removes a copy.
 */
export class VolumeCopies {
  readonly #root: string;
  readonly #parts: VolumeCopiesParts;
  readonly #fence: Fence;

  constructor(root: string, parts: VolumeCopiesParts) {
    this.#root = root;
    this.#parts = parts;
    this.#fence = parts.fence ?? UNFENCED;
  }

  /** Takes away what a controller that is gone has left half done. Before any copy is made. */
  async tidy(): Promise<void> {
    for (const service of await names(this.#root))
      for (const volume of await names(join(this.#root, service))) {
        const folder = join(this.#root, service, volume);
        const files = await readdir(folder).catch((): string[] => []);
        const isCopy = (file: string) => files.includes(file.replace(/\.qcow2$/, '.json'));
        for (const file of files) {
          if (file.endsWith('.json') || (file.endsWith('.qcow2') && isCopy(file))) continue;
          this.#fence.check();
          await rm(join(folder, file), { force: true, recursive: true });
        }
      }
  }

  /** Of a service, the oldest first. */
  async list(service: string): Promise<DataCopy[]> {
    if (!NAME.test(service)) return [];
    const volumes = await names(join(this.#root, service));
    const copies = await Promise.all(volumes.map((volume) => this.#of(service, volume)));
    return copies.flat();
  }

  /**
   * Makes a copy, of the last one and what has changed since where that can be. It is of the moment at which it begins.
   * @throws UD_UNKNOWN_VOLUME, UD_LOCKED, UD_DISK_FULL, UD_COPY_FAILED, UD_ABORTED
   */
  async make(
    service: string,
    volume: string,
    { full, rate, performer }: CopyWish,
    report: (progress: Progress) => void,
    signal: AbortSignal,
  ): Promise<DataCopy> {
    const { hypervisor, clock } = this.#parts;
    const folder = this.#folder(service, volume);
    const id = copyIdAt(clock.now());
    const last = (await this.#of(service, volume)).at(-1) ?? null;
    const base = full || last === null ? null : await this.#base(last);
    this.#fence.check();
    await mkdir(folder, { recursive: true, mode: 0o700 });
    const file = join(folder, `${id}.qcow2`);
    let at = clock.now();
    let still: DataCopy['still'] = null;
    const around = async (start: () => Promise<void>) => {
      const begun = await stillMeanwhile(this.#parts, service, this.#policyOf(service, volume), async () => {
        await start();
        at = clock.now();
      });
      still = begun.still;
    };
    try {
      const order = { id, to: `${file}.new`, base, last: last?.id ?? null, rate, around, report, signal };
      const made = await hypervisor.copyData(service, volume, order);
      const [digest, { blocks }] = await Promise.all([digestFile(order.to), stat(order.to)]);
      const copy: DataCopy = { id, service, volume, at, still, bytes: blocks * 512, digest, ...made };
      if (signal.aborted) throw cancelled();
      await chmod(order.to, 0o400);
      this.#fence.check();
      await rename(order.to, file);
      await writeAtomically(this.#record(folder, id), copy, () => this.#fence.check());
      await synced(folder);
      noteOf(this.#parts, service, {
        event: 'data-copied',
        volume,
        copy: id,
        of: copy.on,
        still,
        by: performer,
      });
      return copy;
    } catch (error) {
      // Also one that is whole and could not be written down: it is none.
      this.#fence.check();
      for (const each of [this.#record(folder, id), file, `${file}.new`]) await rm(each, { force: true });
      throw error;
    }
  }

  /** The bytes of a copy. @throws UD_UNKNOWN_COPY */
  async read(service: string, volume: string, id: string): Promise<{ bytes: ReadStream; size: number }> {
    const { file } = await this.#need(service, volume, id);
    return { bytes: createReadStream(file), size: (await stat(file)).size };
  }

  /** @throws UD_UNKNOWN_COPY */
  async remove(service: string, volume: string, id: string, performer: string): Promise<void> {
    const { file, record } = await this.#need(service, volume, id);
    this.#fence.check();
    await rm(record, { force: true });
    await rm(file, { force: true });
    noteOf(this.#parts, service, { event: 'copy-removed', volume, copy: id, by: performer });
  }

  /**
   * Puts a copy in the place of a data volume that no instance has.
   * @throws UD_UNKNOWN_COPY; UD_COPY_FAILED where it is not what it was; UD_DATA_IN_USE
   */
  async restore(service: string, volume: string, id: string, performer: string): Promise<void> {
    const { file, copy } = await this.#need(service, volume, id);
    if ((await digestFile(file)) !== copy.digest) throw altered(copy);
    await this.#parts.hypervisor.restoreData(service, volume, file);
    noteOf(this.#parts, service, { event: 'data-restored', volume, copy: id, by: performer });
  }

  async #of(service: string, volume: string): Promise<DataCopy[]> {
    const folder = this.#folder(service, volume);
    const ids = (await readdir(folder).catch(() => [])).flatMap(
      (file) => /^(.+)\.json$/.exec(file)?.[1] ?? [],
    );
    const copies = await Promise.all(ids.sort().map((id) => readJson<DataCopy>(this.#record(folder, id))));
    return copies.filter((copy): copy is DataCopy => typeof copy?.digest === 'string');
  }

  /** The last copy, whose bytes are what they were: one of a copy that was altered would be wrong, too. */
  async #base({ service, volume, id, digest }: DataCopy): Promise<{ id: string; file: string } | null> {
    const file = join(this.#folder(service, volume), `${id}.qcow2`);
    return (await digestFile(file).catch(() => null)) === digest ? { id, file } : null;
  }

  async #need(service: string, volume: string, id: string) {
    const folder = this.#folder(service, volume);
    const record = this.#record(folder, id);
    const copy = ID.test(id) ? await readJson<DataCopy>(record) : null;
    if (copy !== null) return { copy, record, file: join(folder, `${id}.qcow2`) };
    throw new UnideployError(
      'UD_UNKNOWN_COPY',
      `data volume ${volume} of ${service} has no copy ${id}`,
      `list those there are: unideploy volume copies --service ${service}`,
    );
  }

  /** Who it is that holds still, by the revision that the service is to run. */
  #policyOf(service: string, volume: string): Pick<DataVolume, 'name' | 'freeze' | 'thaw'> {
    const { store } = this.#parts;
    const number = store.service(service)?.goal.revision ?? null;
    const revision = number === null ? null : store.revision(service, number);
    const policy = dataOf(revision).find(({ name }) => name === volume);
    return { name: volume, freeze: policy?.freeze ?? null, thaw: policy?.thaw ?? null };
  }

  #folder(service: string, volume: string): string {
    if (NAME.test(service) && NAME.test(volume)) return join(this.#root, service, volume);
    throw new UnideployError(
      'UD_UNKNOWN_VOLUME',
      `${service} has no data volume ${volume}`,
      'list those there are: unideploy volume ls',
    );
  }

  #record(folder: string, id: string): string {
    return join(folder, `${id}.json`);
  }
}

async function names(folder: string): Promise<string[]> {
  return (await readdir(folder).catch(() => [])).filter((name) => NAME.test(name)).sort();
}

async function synced(folder: string): Promise<void> {
  const handle = await open(folder, 'r');
  await handle.sync();
  await handle.close();
}

function cancelled(): UnideployError {
  return new UnideployError('UD_ABORTED', 'the copy was cancelled; nothing of it stays', 'begin it again');
}

function altered({ id, service }: DataCopy): UnideployError {
  return new UnideployError(
    'UD_COPY_FAILED',
    `copy ${id} is not what it was when it was made`,
    `use another one: unideploy volume copies --service ${service}`,
  );
}
