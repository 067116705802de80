import { chown, mkdir, readdir, rm, stat } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { outsideFile, type Qcow2Facts, qcow2Facts } from '../../artifact/qcow2.ts';
import type { User } from '../../confinement.ts';
import type { DataVolume } from '../../domain/revision.ts';
import { UnideployError } from '../../errors.ts';
import { readJson, runDirectory, runIds, writeAtomically } from './run-directory.ts';

/** Where a data volume is kept. */
export interface DataPlace {
  service: string;
  name: string;
  folder: string;
  disk: string;
  /** what was last known of it, in JSON; the disk itself is what counts */
  record: string;
}

/** What `volume.json` says. */
export interface DataRecord extends Qcow2Facts, Pick<DataVolume, 'filesystem'> {
  service: string;
  name: string;
  /** epoch milliseconds */
  createdAt: number;
}

/** The file of a volume's disk, in its own folder. */
export const DISK = 'disk.qcow2';
/** Where a machine's QEMU finds data volumes, seen from its run directory. */
const ATTACHED = 'data';

const NAME = /^[a-z][a-z0-9-]{0,19}$/;

/** @throws UD_UNKNOWN_VOLUME for what can be the name of none */
export function dataPlace(state: string, service: string, name: string): DataPlace {
  if (!NAME.test(service) || !NAME.test(name)) throw unknownData(service, name);
  const folder = join(resolve(state), 'data', service, name);
  return { service, name, folder, disk: join(folder, DISK), record: join(folder, 'volume.json') };
}

/** Every data volume there is, whether its service still is or not. */
export async function dataPlaces(state: string): Promise<DataPlace[]> {
  const root = join(resolve(state), 'data');
  const found: DataPlace[] = [];
  for (const service of (await names(root)).sort())
    for (const name of (await names(join(root, service))).sort()) found.push(dataPlace(state, service, name));
  return found;
}

async function names(folder: string): Promise<string[]> {
  const entries = await readdir(folder).catch(() => []);
  return entries.filter((name) => NAME.test(name));
}

/** The name by which QEMU opens a data volume, seen from the run directory, in which it runs. */
export function attachedData(name: string): string {
  return `${ATTACHED}/${name}.qcow2`;
}

/** Names of the data volumes that a run directory has, or has had when its process died. */
export async function attachedNames(path: string): Promise<string[]> {
  const entries = await readdir(join(path, ATTACHED)).catch(() => []);
  return entries.flatMap((entry) => /^(.*)\.qcow2$/.exec(entry)?.[1] ?? []);
}

/** Makes the folder in a run directory into which data volumes are linked. */
export async function makeAttachedFolder(path: string): Promise<void> {
  await mkdir(join(path, ATTACHED), { recursive: true, mode: 0o711 });
}

/** The instance whose run directory has the disk; null: none has. */
export async function holderOf(state: string, { disk, name }: DataPlace): Promise<string | null> {
  const own = await stat(disk).catch(() => null);
  if (own === null || own.nlink < 2) return null;
  for (const id of await runIds(state)) {
    const there = await stat(join(runDirectory(state, id).path, attachedData(name))).catch(() => null);
    if (there !== null && there.ino === own.ino && there.dev === own.dev) return id;
  }
  return null;
}

/** @param user null: whoever this process runs as */
export async function ownBy(path: string, user: User | null): Promise<void> {
  if (process.getuid?.() !== 0) return;
  await chown(path, user?.uid ?? 0, user?.uid ?? 0);
}

/**
 * What a disk says of itself. A guest may have taken over the QEMU that wrote to it: whatever it says, no other file is
 * opened for it.
 * @throws UD_DATA_DAMAGED
 */
export async function factsOf(place: DataPlace): Promise<Qcow2Facts> {
  const facts = await qcow2Facts(place.disk);
  if (facts === null) throw damaged(place, 'is no qcow2 image any more');
  const outside = await outsideFile(place.disk);
  if (outside !== null) throw damaged(place, `names a ${outside}`);
  return facts;
}

/** Writes down what the disk says now. */
export async function noteFacts(place: DataPlace, expectCommand: () => void): Promise<Qcow2Facts> {
  const facts = await factsOf(place);
  const before = await readJson<DataRecord>(place.record);
  const { filesystem = 'none', createdAt = Date.now() } = before ?? {};
  const record: DataRecord = {
    service: place.service,
    name: place.name,
    filesystem,
    createdAt,
    ...facts,
  };
  await writeAtomically(place.record, record, expectCommand);
  return facts;
}

/** Takes a file away, if it is there. */
export async function remove(path: string): Promise<void> {
  await rm(path, { force: true, recursive: true });
}

export function damaged({ service, name, disk }: DataPlace, what: string): UnideployError {
  return new UnideployError(
    'UD_DATA_DAMAGED',
    `data volume ${name} of ${service} ${what}`,
    `keep ${disk} and look at it: qemu-img check; or put a copy of it in its place`,
  );
}

export function unknownData(service: string, name: string): UnideployError {
  return new UnideployError(
    'UD_UNKNOWN_VOLUME',
    `${service} has no data volume ${name}`,
    'list those there are: unideploy volume ls --data',
  );
}
