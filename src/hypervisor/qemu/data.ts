import { link, mkdir, open, readFile, rename, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { execa } from 'execa';
import { runTool } from '../../artifact/commands.ts';
import { type User, type Users, userFor } from '../../confinement.ts';
import { type DataVolume, dataOf } from '../../domain/revision.ts';
import { UnideployError } from '../../errors.ts';
import type { DataSnapshot, DataVolumeState, InstanceSpec } from '../port.ts';
import { dataName } from './command-line.ts';
import {
  attachedData,
  attachedNames,
  type DataPlace,
  type DataRecord,
  DISK,
  damaged,
  dataPlace,
  dataPlaces,
  factsOf,
  holderOf,
  makeAttachedFolder,
  noteFacts,
  ownBy,
  remove,
  unknownData,
} from './data-files.ts';
import {
  checkDisk,
  convertDisk,
  createDisk,
  forgetState,
  goBackTo,
  growDisk,
  keepState,
  type OpenableDisk,
} from './data-images.ts';
import { forgetRecords } from './data-records.ts';
import { dataFileSize } from './limits.ts';
import { forgetSnapshot, resizeNode, snapshotNode } from './qmp/commands.ts';
import type { QmpSession } from './qmp/session.ts';
import { livingPid, type RunDirectory, readSpec, runDirectory, writeAtomically } from './run-directory.ts';
import { queue } from './wait.ts';

/** What the disks need of the machines. */
export interface DataParts {
  state: string;
  /** path of qemu-img */
  program: string;
  users: () => Promise<Users>;
  /** asked before each step that changes something */
  expectCommand: () => void;
  /** whether a machine is being started, and may have no process yet */
  isLaunching: (id: string) => boolean;
  /** does something with the monitor of a machine, which nothing else changes meanwhile */
  withMonitor: <T>(id: string, act: (session: QmpSession) => Promise<T>) => Promise<T>;
  /** ends the copy of a disk that is being made: QEMU changes nothing else meanwhile */
  cutCopy: (place: DataPlace) => Promise<void>;
}

/** Snapshots that were made by themselves, and go by themselves. */
const AUTOMATIC = /^before-/;
/** States kept by themselves that one disk has at most, whoever has reverted it how often. */
const MOST_KEPT = 16;
/** Kept states for which a file has to have room that grows while it is used. */
const LIVE_STATES = 8;
const SNAPSHOT_NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/;

const MKFS = { name: 'mkfs.ext4', debianPackage: 'e2fsprogs' };
/** Named one by one: the defaults are the distribution's, and newer than some guests. */
const EXT4_FEATURES = [
  ...['none', 'has_journal', 'extent', 'filetype', 'sparse_super', 'large_file', 'huge_file', 'dir_index'],
  ...['ext_attr', 'resize_inode', 'dir_nlink', 'extra_isize', '64bit', 'flex_bg', 'metadata_csum'],
].join();

/**
 * The disks that instances write to. Each is one file, `<state>/data/<service>/<name>/disk.qcow2`, which the run directory of
 * the instance that has it knows by another name, a hard link; the states that are kept of it are within it.
 */
export class DataDisks {
  readonly #parts: DataParts;
  /** one change at a time for each disk */
  readonly #turns = new Map<string, ReturnType<typeof queue>>();

  constructor(parts: DataParts) {
    this.#parts = parts;
  }

  /**
   * Makes the disks of an instance that are not there yet, looks through those that are, and gives them to it alone.
   * @throws UD_DATA_IN_USE, UD_DATA_DAMAGED
   */
  async lend(spec: InstanceSpec, { path }: RunDirectory, user: User | null): Promise<void> {
    for (const volume of dataOf(spec)) {
      const place = dataPlace(this.#parts.state, spec.service, volume.name);
      // One of a disk that nobody has: whoever starts waits for no copy.
      const holder = await holderOf(this.#parts.state, place);
      if (holder === null || !this.#isAlive(holder)) await this.#parts.cutCopy(place);
      await this.#inTurn(place, async () => {
        await this.#detached(place, spec.id);
        await this.#make(place, volume);
        const { size } = await factsOf(place);
        this.#parts.expectCommand();
        await makeAttachedFolder(path);
        const file = attachedData(volume.name);
        await link(place.disk, join(path, file)).catch(ignoreExisting);
        await ownBy(place.disk, user);
        const disk = { program: this.#parts.program, folder: path, file, user, size };
        const { damage } = await checkDisk(disk);
        if (damage !== null) throw damaged(place, damage);
        // A disk does not grow with such.
        await forgetRecords(disk, (_name, isLost) => isLost);
        if (size < volume.size) await growDisk({ ...disk, size: volume.size });
        await noteFacts(place, this.#parts.expectCommand);
      });
    }
  }

  /** Takes the disks of a machine back, whose process must be gone. */
  async giveBack(directory: RunDirectory): Promise<void> {
    const names = await attachedNames(directory.path);
    if (names.length === 0) return;
    const spec = await readSpec(directory);
    for (const name of names) {
      const place = spec && dataPlace(this.#parts.state, spec.service, name);
      const giveBack = async () => {
        this.#parts.expectCommand();
        if (place && (await isSame(place.disk, join(directory.path, attachedData(name)))))
          await ownBy(place.disk, null);
        await remove(join(directory.path, attachedData(name)));
      };
      await (place ? this.#inTurn(place, giveBack) : giveBack());
    }
  }

  async list(): Promise<DataVolumeState[]> {
    const places = await dataPlaces(this.#parts.state);
    const told = await Promise.all(places.map((place) => this.#tell(place)));
    return told.filter((volume) => volume !== null);
  }

  /**
   * Keeps the state of a disk at this moment under a name, and of those that were kept by themselves the newest `keep`.
   * One that is there already stays as it is.
   * @throws UD_UNKNOWN_VOLUME, UD_USAGE, UD_QMP, UD_DATA_DAMAGED
   */
  async snapshot(service: string, name: string, snapshot: string, keep: number): Promise<DataSnapshot> {
    if (!SNAPSHOT_NAME.test(snapshot))
      throw new UnideployError(
        'UD_USAGE',
        `"${snapshot}" cannot be the name of a snapshot`,
        'use letters, digits, ".", "_" and "-"',
      );
    const place = await this.#need(service, name);
    await this.#change(place, {
      live: async (session) => {
        if (!(await isKept(place, snapshot))) await snapshotNode(session, dataName(name), snapshot);
        for (const old of await superfluous(place, keep, snapshot))
          await forgetSnapshot(session, dataName(name), old);
      },
      detached: async (disk) => {
        if (!(await isKept(place, snapshot))) await keepState(disk, snapshot);
        for (const old of await superfluous(place, keep, snapshot)) await forgetState(disk, old);
      },
    });
    const { snapshots } = await noteFacts(place, this.#parts.expectCommand);
    const made = snapshots.find((each) => each.name === snapshot);
    if (!made) throw damaged(place, `does not have the snapshot ${snapshot} that was just taken`);
    return { name: made.name, at: made.at };
  }

  /** Forgets a kept state; one that is not there is forgotten already. */
  async forget(service: string, name: string, snapshot: string): Promise<void> {
    const place = await this.#need(service, name);
    const isThere = async () => await isKept(place, snapshot);
    await this.#change(place, {
      live: async (session) => {
        if (await isThere()) await forgetSnapshot(session, dataName(name), snapshot);
      },
      detached: async (disk) => {
        if (await isThere()) await forgetState(disk, snapshot);
      },
    });
    await noteFacts(place, this.#parts.expectCommand);
  }

  /**
   * Makes a disk that no instance has what it was; its present state is kept under the name `aside`, unless that is there.
   * @throws UD_DATA_IN_USE, UD_UNKNOWN_SNAPSHOT
   */
  async revert(service: string, name: string, snapshot: string, aside: string): Promise<void> {
    const place = await this.#need(service, name);
    await this.#change(place, {
      live: async () => {
        throw inUse(place, (await holderOf(this.#parts.state, place)) ?? 'an instance');
      },
      detached: async (disk) => {
        if (!(await isKept(place, snapshot))) throw unknownSnapshot(place, snapshot);
        if (!(await isKept(place, aside))) await keepState(disk, aside);
        // What they tell of the present state is nothing of the one that it becomes.
        await forgetRecords(disk, () => true);
        await goBackTo(disk, snapshot);
        for (const old of await superfluous(place, MOST_KEPT, aside))
          if (old !== snapshot) await forgetState(disk, old);
      },
    });
    await noteFacts(place, this.#parts.expectCommand);
  }

  /** Makes a disk larger; one that is as large already stays as it is, and none becomes smaller. */
  async grow(service: string, name: string, size: number): Promise<void> {
    const place = await this.#need(service, name);
    await this.#change(place, {
      live: async (session, id) => {
        if ((await factsOf(place)).size >= size) return;
        await this.#makeRoom(id, size, (await factsOf(place)).snapshots.length);
        await resizeNode(session, dataName(name), size);
      },
      detached: async (disk) => {
        if (disk.size < size) await growDisk({ ...disk, size });
      },
    });
    await noteFacts(place, this.#parts.expectCommand);
  }

  /** Removes a disk and all that is kept of it, for good; one that is gone is removed already. @throws UD_DATA_IN_USE */
  async remove(service: string, name: string): Promise<void> {
    const place = dataPlace(this.#parts.state, service, name);
    await this.#inTurn(place, async () => {
      await this.#detached(place, null);
      const gone = `${place.folder}.removed`;
      this.#parts.expectCommand();
      await remove(gone);
      await rename(place.folder, gone).catch(ignoreMissing);
      await remove(gone);
    });
  }

  /** Does something with a disk that no instance has, and that none is given meanwhile. @throws UD_DATA_IN_USE */
  async whileDetached<T>(place: DataPlace, act: (disk: OpenableDisk) => Promise<T>): Promise<T> {
    return await this.#inTurn(place, async () => {
      await this.#detached(place, null);
      let done: { is: T } | undefined;
      await this.#confined(place, place.folder, async (disk) => {
        done = { is: await act(disk) };
      });
      return (done as { is: T }).is;
    });
  }

  async #tell(place: DataPlace): Promise<DataVolumeState | null> {
    const own = await stat(place.disk).catch(() => null);
    if (own === null) return null;
    const { service, name } = place;
    const facts = await factsOf(place).catch(() => null);
    const holder = await holderOf(this.#parts.state, place);
    return {
      ...{ service, name, used: own.blocks * 512 },
      size: facts?.size ?? 0,
      attachedTo: holder !== null && this.#isAlive(holder) ? holder : null,
      snapshots: facts?.snapshots.map((each) => ({ name: each.name, at: each.at })) ?? [],
      damaged: facts === null,
    };
  }

  async #need(service: string, name: string): Promise<DataPlace> {
    const place = dataPlace(this.#parts.state, service, name);
    if ((await stat(place.disk).catch(() => null)) === null) throw unknownData(service, name);
    return place;
  }

  /** By the monitor of the instance that has the disk, or, where none has, by qemu-img. */
  async #change(
    place: DataPlace,
    how: {
      live: (session: QmpSession, id: string) => Promise<void>;
      detached: (disk: OpenableDisk) => Promise<void>;
    },
  ): Promise<void> {
    await this.#parts.cutCopy(place);
    const holder = await holderOf(this.#parts.state, place);
    if (holder !== null && this.#isAlive(holder)) {
      // Its turn, and not the disk's: whoever starts a machine has that one's first, too.
      return await this.#parts.withMonitor(holder, async (session) => {
        if ((await holderOf(this.#parts.state, place)) !== holder) throw inUse(place, 'another instance');
        await how.live(session, holder);
      });
    }
    await this.#inTurn(place, async () => {
      await this.#detached(place, null);
      await this.#confined(place, place.folder, how.detached);
    });
  }

  /** qemu-img runs as a user whom nothing else belongs to. */
  async #confined(
    place: Pick<DataPlace, 'disk'>,
    folder: string,
    act: (disk: OpenableDisk) => Promise<void>,
    facts?: { size: number },
  ): Promise<void> {
    const user = userFor(await this.#parts.users(), folder);
    const { size } = facts ?? (await factsOf(place as DataPlace));
    this.#parts.expectCommand();
    await ownBy(place.disk, user);
    try {
      await act({ program: this.#parts.program, folder, file: DISK, user, size });
    } finally {
      await ownBy(place.disk, null);
    }
  }

  /** Sees to it that no other instance has the disk; one whose process is gone gives it back. @throws UD_DATA_IN_USE */
  async #detached(place: DataPlace, but: string | null): Promise<void> {
    const holder = await holderOf(this.#parts.state, place);
    if (holder === null || holder === but) return;
    if (this.#isAlive(holder)) throw inUse(place, holder);
    this.#parts.expectCommand();
    await remove(join(runDirectory(this.#parts.state, holder).path, attachedData(place.name)));
    await ownBy(place.disk, null);
  }

  #isAlive(id: string): boolean {
    return this.#parts.isLaunching(id) || livingPid(runDirectory(this.#parts.state, id)) !== null;
  }

  /** An empty disk, whole or not at all. */
  async #make(place: DataPlace, volume: DataVolume): Promise<void> {
    if ((await stat(place.disk).catch(() => null)) !== null) return;
    const fresh = join(place.folder, '..', `.${place.name}.new`);
    const disk = join(fresh, DISK);
    this.#parts.expectCommand();
    await remove(fresh);
    await mkdir(fresh, { recursive: true, mode: 0o711 });
    await (await open(disk, 'wx', 0o600)).close();
    const raw = volume.filesystem === 'ext4' ? join(fresh, 'disk.raw') : null;
    if (raw !== null) await makeExt4(raw, volume);
    const user = userFor(await this.#parts.users(), fresh);
    if (raw !== null) await ownBy(raw, user);
    await this.#confined(
      { disk },
      fresh,
      (opened) => (raw === null ? createDisk(opened) : convertDisk(opened, 'disk.raw')),
      { size: volume.size },
    );
    if (raw !== null) await rm(raw);
    const { service, name } = place;
    const { filesystem, size } = volume;
    const record: DataRecord = { service, name, filesystem, size, snapshots: [], createdAt: Date.now() };
    await writeAtomically(join(fresh, 'volume.json'), record, this.#parts.expectCommand);
    await rm(place.folder, { recursive: true, force: true });
    await rename(fresh, place.folder);
  }

  /** The file may have to become longer than QEMU was allowed when it was started. @throws UD_DATA_IN_USE */
  async #makeRoom(id: string, size: number, states: number): Promise<void> {
    const pid = livingPid(runDirectory(this.#parts.state, id));
    if (pid === null) return;
    const said = await readFile(`/proc/${pid}/limits`, 'utf8');
    const limit = Number(/^Max file size\s+(\d+)/m.exec(said)?.[1] ?? Number.POSITIVE_INFINITY);
    if (limit >= dataFileSize(size, Math.max(LIVE_STATES, states))) return;
    const words = ['--pid', String(pid), `--fsize=${dataFileSize(size)}`];
    const { failed } = await execa('prlimit', words, { reject: false, timeout: 10_000 });
    if (!failed) return;
    throw new UnideployError(
      'UD_DATA_IN_USE',
      `the file of a data volume that ${id} has may not become that long while it runs`,
      'roll out the larger size together with a restart, or take the service down, grow the volume and roll out again',
    );
  }

  async #inTurn<T>({ folder }: DataPlace, act: () => Promise<T>): Promise<T> {
    const turns = this.#turns.get(folder) ?? queue();
    this.#turns.set(folder, turns);
    return await turns(act);
  }
}

async function makeExt4(raw: string, { name, size }: DataVolume): Promise<void> {
  const file = await open(raw, 'wx', 0o600);
  await file.truncate(size);
  await file.close();
  const words = ['-q', '-F', '-b', '4096', '-I', '256', '-m', '0', '-L', name, '-O', EXT4_FEATURES];
  await runTool(MKFS, [...words, '-E', 'lazy_itable_init=1,nodiscard,root_owner=0:0', raw], {
    env: { MKE2FS_CONFIG: '/dev/null' },
  });
}

/** Of the states that were kept by themselves, those beyond the newest `keep`. */
async function superfluous(place: DataPlace, keep: number, but: string): Promise<string[]> {
  const { snapshots } = await factsOf(place);
  const automatic = snapshots.filter(({ name }) => AUTOMATIC.test(name)).sort((a, b) => b.at - a.at);
  return automatic
    .slice(keep)
    .map(({ name }) => name)
    .filter((name) => name !== but);
}

async function isKept(place: DataPlace, snapshot: string): Promise<boolean> {
  return (await factsOf(place)).snapshots.some(({ name }) => name === snapshot);
}

async function isSame(a: string, b: string): Promise<boolean> {
  const [one, other] = await Promise.all([a, b].map((path) => stat(path).catch(() => null)));
  return one?.ino === other?.ino && one?.dev === other?.dev;
}

function inUse({ service, name }: DataPlace, holder: string): UnideployError {
  return new UnideployError(
    'UD_DATA_IN_USE',
    `data volume ${name} of ${service} is attached to ${holder}`,
    `stop the instance first: unideploy down --service ${service}; its data stays`,
  );
}

function unknownSnapshot({ service, name }: DataPlace, snapshot: string): UnideployError {
  return new UnideployError(
    'UD_UNKNOWN_SNAPSHOT',
    `data volume ${name} of ${service} has no snapshot ${snapshot}`,
    'list those there are: unideploy volume snapshots',
  );
}

function ignoreExisting(error: NodeJS.ErrnoException): void {
  if (error.code !== 'EEXIST') throw error;
}

function ignoreMissing(error: NodeJS.ErrnoException): void {
  if (error.code !== 'ENOENT') throw error;
}
