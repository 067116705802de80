import { constants } from 'node:fs';
import { chown, copyFile, open, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { User } from '../../confinement.ts';
import { type CodeVolume, dataOf, type RevisionSpec } from '../../domain/revision.ts';
import { expectMatch, refusedSnapshot, type SavedMachine, type Snapshot } from '../../domain/snapshot.ts';
import { UnideployError } from '../../errors.ts';
import { SNAPSHOT_FILES, type SnapshotCatalogue } from '../../snapshots/catalogue.ts';
import type { InstanceSpec, SaveOrder } from '../port.ts';
import { type Attachment, inherit, nextNumber } from './attachments.ts';
import type { LaunchFacts } from './command-line.ts';
import { attachedVolumes } from './hotplug.ts';
import type { Machine } from './machine.ts';
import {
  hasMemoryObject,
  isOnKvm,
  queryStatus,
  queryVersion,
  resumeGuest,
  stopGuest,
} from './qmp/commands.ts';
import type { QmpSession } from './qmp/session.ts';
import { WRITTEN } from './run-files.ts';
import { loadState, saveState } from './saved-state.ts';
import { beginStandstill, endStandstill } from './standstill.ts';
import { wholeVolume } from './traces.ts';

const MIB = 2 ** 20;

/** Milliseconds for the memory of a guest: some, and more for each GiB. */
function deadlineOf({ memory }: { memory: number }): number {
  return 30_000 + (memory / 1024) * 60_000;
}

/** Saves a machine that is the caller's, by `machine.exclusively`. @param user whom its QEMU runs as */
export async function saveMachine(
  machine: Machine,
  user: User | null,
  order: SaveOrder,
): Promise<SavedMachine> {
  const { spec, directory } = machine;
  const session = await machine.connect();
  await expectSavable(machine, session, order.memory);
  const facts = await factsOf(machine, session, order.memory);
  const disk = spec.image.kind === 'disk' ? await stat(directory.root) : null;
  const total = (order.memory ? spec.machine.memory * MIB : 0) + (disk ? disk.blocks * 512 : 0);
  const report = (done: number) => order.report({ done: Math.min(done, total), total });
  report(0);

  machine.expectCommand();
  await beginStandstill(directory);
  machine.saving = true;
  const stopped = stopOf(session);
  try {
    if (order.memory) {
      const progress = (done: number) => {
        report(done);
        // A guest that writes faster than its memory is saved has to stand still.
        if (done > 2 * spec.machine.memory * MIB) void stopGuest(session).catch(() => {});
      };
      await saveState(machine, user, join(order.folder, SNAPSHOT_FILES.memory), {
        ...{ ramInFile: false, live: true, deadlineMs: deadlineOf(spec.machine) },
        ...{ signal: order.signal, progress },
      });
    } else await stopGuest(session);
    expectGoingOn(order.signal);
    // QEMU has written out all that it had of the disk, and writes nothing before the guest goes on.
    if (disk)
      await copyFile(directory.root, join(order.folder, SNAPSHOT_FILES.disk), constants.COPYFILE_FICLONE);
  } finally {
    if (session.open) await endStandstill(session, directory);
    machine.saving = false;
    machine.volumesChanged();
    stopped.forget();
  }
  const pausedMs = stopped.ms();
  expectGoingOn(order.signal);
  report(total);
  return { ...facts, pausedMs };
}

/** Sees when the guest came to stand, by QEMU's own word. */
function stopOf(session: QmpSession): { ms(): number; forget(): void } {
  let since: number | null = null;
  const forget = session.onEvent(({ name }) => {
    if (name === 'STOP') since ??= performance.now();
  });
  return { ms: () => (since === null ? 0 : Math.round(performance.now() - since)), forget };
}

/** @throws UD_SNAPSHOT_REFUSED */
async function expectSavable({ spec }: Machine, session: QmpSession, memory: boolean): Promise<void> {
  const state = await queryStatus(session);
  if (state !== 'running')
    throw refusedSnapshot(`${spec.id} does not run: it is ${state}`, 'take one of an instance that is well');
  if (!memory && spec.image.kind === 'kernel')
    throw refusedSnapshot(
      `${spec.id} has no root disk, so without its memory there is nothing to save`,
      'take a snapshot with its memory: leave --disk-only out',
    );
  const data = namesOfData(spec);
  if (memory && data.length > 0)
    throw refusedSnapshot(
      `${spec.id} has the data volume ${data.join(', ')}, which goes on without its memory`,
      'save its root disk with --disk-only, and the data with: unideploy volume copy',
    );
}

async function factsOf(
  { spec, directory }: Machine,
  session: QmpSession,
  memory: boolean,
): Promise<Omit<SavedMachine, 'pausedMs'>> {
  const attached = await attachedVolumes({ session, directory });
  const order = (name: string) => spec.volumes.findIndex((volume) => volume.name === name);
  // In the order in which a revision names them: which one came last tells nothing of what runs.
  const volumes = [...attached]
    .sort((a, b) => order(a.name) - order(b.name))
    .map((attachment) => wholeVolume(attachment, spec));
  if (!volumes.every((volume): volume is CodeVolume => volume !== null))
    throw refusedSnapshot(
      `nobody knows all of the code volumes of ${spec.id}: an earlier version attached them`,
      'restart it: unideploy restart',
    );
  // On buses of their own volumes would have to be on the very same ones again; those of the boot are.
  const moved = attached.some(({ number }, index) => number !== index + 1);
  if (memory && spec.machine.volumes === 'virtio-blk' && moved)
    throw refusedSnapshot(
      `the code volumes of ${spec.id} were exchanged since it has booted, and are on virtio-blk`,
      'restart it first (unideploy restart), or use machine.volumes: virtio-scsi',
    );
  const [qemu, kvm, inFile] = await Promise.all([
    queryVersion(session),
    isOnKvm(session),
    hasMemoryObject(session, 'ram'),
  ]);
  const { image, machine, checks, data } = spec;
  return {
    spec: { image, machine, checks, volumes, ...(data && { data }) },
    attachments: attached.map(({ number, name, digest }) => ({ number, name, digest })),
    nextAttachment: await nextNumber(directory),
    qemu,
    accel: kvm ? 'kvm' : 'tcg',
    ram: inFile ? 'file' : 'own',
  };
}

function expectGoingOn(signal: AbortSignal): void {
  if (signal.aborted) throw new UnideployError('UD_ABORTED', 'the snapshot was cancelled', 'take it again');
}

function namesOfData(spec: RevisionSpec): string[] {
  return dataOf(spec).map(({ name }) => name);
}

/** What a machine goes on from. */
export interface Restorable {
  snapshot: Snapshot;
  catalogue: SnapshotCatalogue;
}

/**
 * The snapshot of a spec that is to go on from one; null: it boots. Nothing has been touched yet when it cannot be used.
 * @throws UD_SNAPSHOT_REFUSED, UD_UNKNOWN_SNAPSHOT, UD_ARTIFACT_CORRUPT, UD_ARTIFACT_MISSING
 */
export async function restorable(
  spec: InstanceSpec,
  catalogue: SnapshotCatalogue,
  here: { accel: () => Promise<'kvm' | 'tcg'>; version: () => Promise<string> },
): Promise<Restorable | null> {
  if (spec.snapshot === undefined) return null;
  const snapshot = await catalogue.need(spec.service, spec.snapshot);
  expectMatch(snapshot, spec, `instance ${spec.id}`);
  if (snapshot.memory !== null) {
    const [accel, version] = await Promise.all([here.accel(), here.version()]);
    const [before, now] = [`QEMU ${snapshot.qemu} on ${snapshot.accel}`, `QEMU ${version} on ${accel}`];
    if (before !== now)
      throw refusedSnapshot(
        `snapshot ${snapshot.id} has the memory of a guest of ${before}, and this is ${now}`,
        'restore it where it was taken, or take one with --disk-only before the next upgrade',
      );
    const data = namesOfData(spec);
    if (data.length > 0)
      throw refusedSnapshot(
        `snapshot ${snapshot.id} has the memory of a guest whose data volume ${data.join(', ')} has gone on since`,
        'restore one that was taken with --disk-only',
      );
  }
  await catalogue.verify(snapshot);
  return { snapshot, catalogue };
}

/** Puts the saved root disk in the place of a fresh overlay. */
export async function placeDisk({ directory }: Machine, user: User | null, from: Restorable): Promise<void> {
  const { id, service } = from.snapshot;
  await copyFile(from.catalogue.path(service, id, 'disk'), directory.root, constants.COPYFILE_FICLONE);
  const file = await open(directory.root, constants.O_RDONLY | constants.O_NOFOLLOW);
  try {
    await file.chmod(0o600);
    if (user !== null) await file.chown(user.uid, user.uid);
  } finally {
    await file.close();
  }
}

/** The volumes by the numbers that the guest knows them by; they and the next ones are written down. */
export async function inheritVolumes({ spec, directory, expectCommand }: Machine, { snapshot }: Restorable) {
  const made = snapshot.attachments.map(({ number, name, digest }): Attachment => {
    const volume = spec.volumes.find((each) => each.name === name && each.digest === digest);
    if (!volume) throw refusedSnapshot(`snapshot ${snapshot.id} names a volume that it has not`, 'remove it');
    return { ...volume, number };
  });
  await inherit(directory, made, snapshot.nextAttachment, expectCommand);
  return made;
}

/** What QEMU has to be told to wait for the saved memory. */
export async function waitingFor(
  { directory, spec }: Machine,
  user: User | null,
  { snapshot }: Restorable,
): Promise<Pick<LaunchFacts, 'incoming' | 'ram'>> {
  if (snapshot.memory === null) return {};
  if (snapshot.ram === 'own') return { incoming: true };
  // By the name of its memory QEMU knows where the saved one goes; the file itself stays empty.
  await rm(directory.ram, { force: true });
  const file = await open(directory.ram, 'wx', 0o600);
  await file.truncate(spec.machine.memory * MIB).finally(() => file.close());
  if (user !== null) await chown(directory.ram, user.uid, user.uid);
  return { incoming: true, ram: { path: WRITTEN.ram, share: false } };
}

/** Gives the machine its memory, and lets it go on. */
export async function goOn(machine: Machine, { snapshot, catalogue }: Restorable): Promise<void> {
  if (snapshot.memory === null) return;
  const { id, service } = snapshot;
  await loadState(machine, catalogue.path(service, id, 'memory'), {
    ramInFile: false,
    deadlineMs: deadlineOf(machine.spec.machine),
  });
  await resumeGuest(await machine.connect());
}
