import { chmod, constants, copyFile, link, lstat, mkdir, open, readdir, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { outsideFile, qcow2Facts } from '../../artifact/qcow2.ts';
import { type Users, userFor } from '../../confinement.ts';
import { UnideployError } from '../../errors.ts';
import type { CopyMade, CopyOrder } from '../port.ts';
import type { ExpectCommand } from './command.ts';
import { dataName } from './command-line.ts';
import type { DataDisks } from './data.ts';
import {
  type DataPlace,
  dataPlace,
  dataPlaces,
  factsOf,
  holderOf,
  ownBy,
  unknownData,
} from './data-files.ts';
import { checkDisk, createDisk, growDisk, type OpenableDisk } from './data-images.ts';
import { addRecord, copyDetached, forgetRecords } from './data-records.ts';
import type { Machine } from './machine.ts';
import { blockdevAdd, blockdevDel, queryNodes } from './qmp/commands.ts';
import { monitorError, QmpRefusal, refused } from './qmp/errors.ts';
import { beginBackup, changeRecords, endJob, followJob, queryJobs, removeChangeRecord } from './qmp/jobs.ts';
import type { QmpSession } from './qmp/session.ts';
import { livingPid } from './run-directory.ts';
import { until } from './wait.ts';

interface CopyParts {
  state: string;
  /** path of qemu-img */
  program: string;
  users: () => Promise<Users>;
  expectCommand: ExpectCommand;
  machine: (id: string) => Promise<Machine>;
  disks: DataDisks;
}

/** A copy that is being made here. */
interface Running {
  id: string;
  cut: AbortController;
  over: Promise<unknown>;
}

/** What the records are called that unideploy keeps on a disk: of what has changed since the copy of that id began. */
function recordOf(copy: string): string {
  return `${RECORD}${copy}`;
}
const RECORD = 'unideploy-';

/** Of a copy, its job and the node of its file: at most 31 characters. */
function jobOf(copy: string): string {
  return `copy-${copy}`;
}
const OURS = /^copy-/;

/** The disk that was there before a copy came into its place. */
const REPLACED = 'replaced.qcow2';

/** Names of copies while they are made of, or for, a disk that no instance has. */
const HALF_DONE = /^(copy-.+\.qcow2|restored)\.new$/;

/** Where QEMU writes a copy, seen from its run directory: it can put no other file in its place. */
const FOLDER = 'copies';

/**
 * Makes copies of data volumes, of one volume one at a time. While one is made of a disk that an instance has, QEMU lets
 * nobody keep a state of that disk or grow it: whoever wants to cuts the copy short, for a rollout waits for no copy.
 */
export class DataCopies {
  readonly #parts: CopyParts;
  readonly #running = new Map<string, Running>();

  constructor(parts: CopyParts) {
    this.#parts = parts;
  }

  /** See `Hypervisor.copyData`. */
  async copy(service: string, name: string, order: CopyOrder): Promise<CopyMade> {
    const place = dataPlace(this.#parts.state, service, name);
    if (this.#running.has(place.folder))
      throw new UnideployError(
        'UD_LOCKED',
        `a copy of data volume ${name} of ${service} is being made already`,
        'wait for it, or end the command that makes it',
      );
    const cut = new AbortController();
    const making = this.#make(place, { ...order, signal: AbortSignal.any([order.signal, cut.signal]) });
    const running = { id: order.id, cut, over: making.catch(() => {}) };
    this.#running.set(place.folder, running);
    try {
      return await making;
    } catch (error) {
      throw cut.signal.aborted ? cutShort(place) : error;
    } finally {
      this.#running.delete(place.folder);
    }
  }

  /** See `Hypervisor.restoreData`. */
  async restore(service: string, name: string, file: string): Promise<void> {
    const { disks, expectCommand, state } = this.#parts;
    const place = dataPlace(state, service, name);
    await this.cut(place);
    const fresh = join(place.folder, 'restored.new');
    try {
      await disks.whileDetached(place, async (disk) => {
        expectCommand();
        await rm(fresh, { force: true });
        await copyFile(file, fresh, constants.COPYFILE_FICLONE);
        await chmod(fresh, 0o600);
        await ownBy(fresh, disk.user);
        const { damage } = await checkDisk({ ...disk, file: 'restored.new' });
        if (damage !== null) throw wrong(`it ${damage}`);
        await ownBy(fresh, null);
        expectCommand();
        await rm(join(place.folder, REPLACED), { force: true });
        await link(place.disk, join(place.folder, REPLACED));
        await moved(fresh, place.disk);
        await rm(join(place.folder, 'volume.json'), { force: true });
      });
    } finally {
      await rm(fresh, { force: true });
    }
  }

  /** Cuts short the copy of a disk, if one is being made, and waits until it is over. */
  async cut({ folder }: DataPlace): Promise<void> {
    const running = this.#running.get(folder);
    running?.cut.abort();
    await running?.over;
  }

  /** Takes away what a controller that is gone has left half done beside the disks. Before any copy is made. */
  async tidy(): Promise<void> {
    for (const { folder } of await dataPlaces(this.#parts.state))
      for (const file of await readdir(folder).catch(() => [])) {
        if (!HALF_DONE.test(file)) continue;
        this.#parts.expectCommand();
        await rm(join(folder, file), { force: true });
      }
  }

  /** Takes away what a controller that is gone has left in a machine: jobs, open files, half copies. */
  async sweep({ directory, expectCommand }: Machine, session: QmpSession): Promise<void> {
    const isMine = (name: string) => [...this.#running.values()].some(({ id }) => name.startsWith(jobOf(id)));
    for (const { id } of await queryJobs(session))
      if (OURS.test(id) && !isMine(id)) await endJob(session, id);
    for (const node of await queryNodes(session))
      if (OURS.test(node) && !isMine(node)) await closed(session, node);
    for (const file of await readdir(join(directory.path, FOLDER)).catch(() => [])) {
      if (isMine(file)) continue;
      expectCommand();
      await rm(join(directory.path, FOLDER, file), { force: true });
    }
  }

  async #make(place: DataPlace, order: CopyOrder): Promise<CopyMade> {
    const { size } = await factsOf(place).catch((error: NodeJS.ErrnoException) => {
      throw error.code === 'ENOENT' ? unknownData(place.service, place.name) : error;
    });
    const holder = await holderOf(this.#parts.state, place);
    const machine = holder === null ? null : await this.#parts.machine(holder);
    if (machine === null || livingPid(machine.directory) === null) return await this.#detached(place, order);
    return await this.#live(place, machine, size, order);
  }

  async #live(place: DataPlace, machine: Machine, size: number, order: CopyOrder): Promise<CopyMade> {
    const { directory, expectCommand, spec } = machine;
    const { id, signal } = order;
    const node = dataName(place.name);
    const user = userFor(await this.#parts.users(), directory.path);
    const file = `${FOLDER}/${jobOf(id)}.qcow2`;
    const target = { program: this.#parts.program, folder: directory.path, file, user, size };
    try {
      const why = await machine.exclusively(async () => this.#whyWhole(machine, node, order));
      const base = why === null ? order.base : null;
      signal.throwIfAborted();
      await makeTarget(target, base?.file ?? null, expectCommand);
      const session = await machine.exclusively(async () => {
        signal.throwIfAborted();
        if ((await holderOf(this.#parts.state, place)) !== spec.id) throw cutShort(place);
        const connected = await machine.connect();
        await blockdevAdd(connected, copyNode(id, file));
        const since = base && recordOf(base.id);
        const backup = { job: jobOf(id), from: node, to: jobOf(id), record: recordOf(id), since };
        await order.around(() => beginBackup(connected, { ...backup, rate: order.rate }));
        return connected;
      });
      const { done } = await followJob(session, jobOf(id), { report: order.report, signal });
      await closed(session, jobOf(id));
      await this.#take(target, order.to, expectCommand);
      return { instance: spec.id, revision: spec.revision, size, copied: done, on: base?.id ?? null, why };
    } catch (error) {
      await this.#undo(machine, node, id).catch(() => {});
      throw await failureOf(error, machine, signal);
    } finally {
      await rm(join(directory.path, file), { force: true });
    }
  }

  /**
   * Why a copy has to be whole, or null. Records that no later copy can go by are forgotten.
   */
  async #whyWhole(machine: Machine, node: string, { base, last }: CopyOrder): Promise<string | null> {
    const session = await machine.connect();
    await this.sweep(machine, session);
    const records = (await changeRecords(session, node)).filter(({ name }) => name.startsWith(RECORD));
    const wanted = base && recordOf(base.id);
    const found = records.find(({ name }) => name === wanted);
    const kept = last && recordOf(last);
    for (const { name, isLost } of records)
      if (name !== kept || isLost) await removeChangeRecord(session, node, name);
    if (base === null) return 'it is the first, or was asked to be whole';
    if (found === undefined) return `nothing has recorded what changed since copy ${base.id}`;
    return found.isLost ? `the record of what changed since copy ${base.id} was lost with its QEMU` : null;
  }

  /** A guest may have taken over the QEMU that wrote it: whatever the file says, no other one is read for it. */
  async #take(target: OpenableDisk, to: string, expectCommand: ExpectCommand): Promise<void> {
    const path = join(target.folder, target.file);
    const { damage } = await checkDisk(target);
    if (damage !== null) throw wrong(`it ${damage}`);
    expectCommand();
    await ownBy(path, null);
    if (!(await lstat(path)).isFile()) throw wrong('it is no file');
    const outside = await outsideFile(path);
    if (outside !== null) throw wrong(`it names a ${outside}`);
    if ((await qcow2Facts(path))?.size !== target.size) throw wrong('it has another size than the disk');
    expectCommand();
    await moved(path, to);
  }

  /** What of a copy that failed is left in QEMU. The record it was made by stays: nothing is missing in the next one. */
  async #undo(machine: Machine, node: string, id: string): Promise<void> {
    if (livingPid(machine.directory) === null) return;
    const session = await machine.connect(2_000);
    await endJob(session, jobOf(id));
    await closed(session, jobOf(id));
    await removeChangeRecord(session, node, recordOf(id));
  }

  /** Of a disk that no instance has, and that none is given before the copy is made. */
  async #detached(place: DataPlace, order: CopyOrder): Promise<CopyMade> {
    const { disks, expectCommand } = this.#parts;
    const file = `copy-${order.id}.qcow2.new`;
    const made = join(place.folder, file);
    const kept = order.last && recordOf(order.last);
    try {
      return await disks.whileDetached(place, async (disk) => {
        expectCommand();
        await (await open(made, 'wx', 0o600)).close();
        await ownBy(made, disk.user);
        await forgetRecords(disk, (name) => name.startsWith(RECORD) && name !== kept);
        const copied = await copyDetached(disk, file, order);
        await addRecord(disk, recordOf(order.id));
        await this.#take({ ...disk, file }, order.to, expectCommand);
        const why = 'no instance has the volume';
        return { instance: null, revision: null, size: disk.size, copied, on: null, why };
      });
    } finally {
      await rm(made, { force: true });
    }
  }
}

/** An empty image, or a clone of the last copy, for QEMU to write into. */
async function makeTarget(
  target: OpenableDisk,
  base: string | null,
  expectCommand: ExpectCommand,
): Promise<void> {
  const path = join(target.folder, target.file);
  expectCommand();
  await mkdir(join(target.folder, FOLDER), { recursive: true, mode: 0o711 });
  await rm(path, { force: true });
  await (await open(path, 'wx', 0o600)).close();
  if (base !== null) {
    await copyFile(base, path, constants.COPYFILE_FICLONE);
    // A copy that is kept can only be read, and its clone would be, too.
    await chmod(path, 0o600);
  }
  await ownBy(path, target.user);
  if (base === null) return await createDisk(target);
  if (((await qcow2Facts(path))?.size ?? target.size) < target.size) await growDisk(target);
}

function copyNode(id: string, filename: string) {
  return {
    driver: 'qcow2',
    'node-name': jobOf(id),
    discard: 'unmap',
    // Nothing that stands in the file makes QEMU open another one.
    backing: null,
    file: { driver: 'file', filename, locking: 'on', discard: 'unmap' },
  };
}

async function closed(session: QmpSession, node: string): Promise<void> {
  await blockdevDel(session, node).catch((error: unknown) => {
    if (!refused(error, 'not-found')) throw error;
  });
}

/** On disk, and under its name there as a whole. */
async function moved(from: string, to: string): Promise<void> {
  const file = await open(from, 'r');
  await file.sync();
  await file.close();
  await rename(from, to).catch(async (error: NodeJS.ErrnoException) => {
    if (error.code !== 'EXDEV') throw error;
    await copyFile(from, to, constants.COPYFILE_FICLONE);
  });
}

async function failureOf(
  error: unknown,
  { spec, directory }: Machine,
  signal: AbortSignal,
): Promise<unknown> {
  if (signal.aborted)
    return new UnideployError('UD_ABORTED', 'the copy was cancelled; nothing of it stays', 'begin it again');
  const { code } = error as { code?: string };
  // The monitor hangs up, and a job is cancelled, some milliseconds before the process is gone.
  const mayHaveEnded = code === 'UD_QMP' || code === 'UD_COPY_FAILED';
  if (mayHaveEnded && (await until(() => livingPid(directory) === null, 2_000)))
    return new UnideployError(
      'UD_COPY_FAILED',
      `instance ${spec.id} ended while its disk was copied; nothing of the copy stays`,
      'copy again: what its successor has, or, where there is none, the disk itself',
      { cause: error },
    );
  return error instanceof QmpRefusal ? monitorError(spec.id, error) : error;
}

function cutShort({ service, name }: DataPlace): UnideployError {
  return new UnideployError(
    'UD_COPY_FAILED',
    `the copy of data volume ${name} of ${service} was cut short: a rollout or a person changes the volume`,
    'copy again when that is over; nothing of the copy stays',
  );
}

function wrong(what: string): UnideployError {
  return new UnideployError(
    'UD_COPY_FAILED',
    `the copy cannot be used: ${what}`,
    'copy again; when it goes on like that, look at the instance, which may be in other hands',
  );
}
