import { UnideployError } from '../errors.ts';
import { canonical, type Digest, dataOf, type RevisionSpec } from './revision.ts';

/** A file of a snapshot. */
export interface SavedFile {
  digest: Digest;
  bytes: number;
}

/** A code volume as it was attached, by the number that the guest knows it by. */
interface SavedAttachment {
  number: number;
  name: string;
  digest: Digest;
}

/** What tells how an instance was when it was saved, besides what it was. */
export interface SavedMachine {
  /** its image and its shape, and the code volumes that were attached in that moment, oldest first */
  spec: RevisionSpec;
  attachments: SavedAttachment[];
  /** the first number that no volume of it ever had */
  nextAttachment: number;
  /** QEMU's version, and what ran the guest: its memory can be given to no other */
  qemu: string;
  accel: 'kvm' | 'tcg';
  /** whether QEMU had the guest's memory in a file */
  ram: 'own' | 'file';
  /** how long the guest stood still, ms */
  pausedMs: number;
}

/** A whole instance as it was in one moment: its disk, and its memory, or one of the two. */
export interface Snapshot extends SavedMachine {
  id: string;
  service: string;
  instance: string;
  revision: number;
  /** epoch milliseconds */
  createdAt: number;
  createdBy: string;
  /** its root disk as an overlay over the image; null: its image is none */
  disk: SavedFile | null;
  /** null: it boots from the disk when it is restored */
  memory: SavedFile | null;
}

/** `site-3-1-20261129132501`: the instance, and the time in UTC. */
export function snapshotId(instance: string, at: number): string {
  return `${instance}-${new Date(at).toISOString().replace(/\D/g, '').slice(0, 14)}`;
}

/**
 * What an instance of this spec has that the snapshot's had not, in words; null: nothing. Memory goes with the disks that it
 * was saved with and no others: a guest goes on with what it has cached of them, and nothing says so.
 */
export function mismatch(snapshot: Pick<Snapshot, 'spec'>, spec: RevisionSpec): string | null {
  const parts = ['image', 'machine', 'checks', 'volumes'] as const;
  const other = parts.find((part) => canonical(snapshot.spec[part]) !== canonical(spec[part]));
  if (other) return WORDS[other];
  // Their content is no part of a snapshot, and a disk grows while it is used.
  const disks = (of: RevisionSpec) =>
    canonical(dataOf(of).map(({ name, filesystem }) => ({ name, filesystem })));
  return disks(snapshot.spec) === disks(spec) ? null : 'other data volumes';
}

const WORDS = {
  image: 'another image',
  machine: 'a machine of another shape',
  checks: 'another port or other paths of its checks',
  volumes: 'other code volumes',
};

/** @throws UD_SNAPSHOT_REFUSED */
export function expectMatch(snapshot: Pick<Snapshot, 'id' | 'spec'>, spec: RevisionSpec, of: string): void {
  const other = mismatch(snapshot, spec);
  if (other === null) return;
  throw refusedSnapshot(
    `${of} has ${other} than snapshot ${snapshot.id} was taken of`,
    'restore a snapshot of what is to run; see them: unideploy snapshot ls',
  );
}

export function refusedSnapshot(message: string, next: string): UnideployError {
  return new UnideployError('UD_SNAPSHOT_REFUSED', message, next);
}
