import { existsSync } from 'node:fs';
import type { CodeVolume, Digest, VolumeFormat } from '../../domain/revision.ts';
import { UnideployError } from '../../errors.ts';
import type { ExpectCommand } from './command.ts';
import { type RunDirectory, readJson, readSpec, writeAtomically } from './run-directory.ts';

/**
 * One volume in one guest, once. The number is never used again in this instance: with a reused scsi-id a stale file
 * descriptor in the guest silently read the new volume's bytes (measured on real guests).
 */
export interface Attachment {
  number: number;
  name: string;
  digest: Digest;
  format: VolumeFormat;
  /** the rest of the volume, for whoever rebuilds a lost state from what runs; earlier versions did not write it */
  size?: number;
  revision?: string | null;
  probe?: string;
}

interface Ledger {
  next: number;
  made: Attachment[];
}

/**
 * Takes the next number for a volume, on disk before anybody uses it. Forgets earlier attachments except `living`.
 * Throws UD_VOLUME_ATTACH for a name that cannot be part of a QEMU id.
 */
export async function reserve(
  directory: RunDirectory,
  { name, digest, format, size, revision, probe }: CodeVolume,
  living: readonly Attachment[],
  expectCommand: ExpectCommand,
): Promise<Attachment> {
  if (!/^[A-Za-z][A-Za-z0-9._-]*$/.test(name))
    throw new UnideployError(
      'UD_VOLUME_ATTACH',
      `"${name}" cannot be the name of a volume`,
      'use a name of letters, digits, ".", "_" and "-" that begins with a letter',
    );
  const ledger = await readLedger(directory);
  const attachment = { number: ledger.next, name, digest, format, size, revision, probe };
  const kept = ledger.made.filter(({ number }) => living.some((alive) => alive.number === number));
  const changed = { next: ledger.next + 1, made: [...kept, attachment] };
  await writeAtomically(directory.attachments, changed, expectCommand);
  return attachment;
}

/** Has the machine go on with the attachments of another, of which `next` is the first number that none ever had. */
export async function inherit(
  directory: RunDirectory,
  made: Attachment[],
  next: number,
  expectCommand: ExpectCommand,
): Promise<void> {
  await writeAtomically(directory.attachments, { next, made } satisfies Ledger, expectCommand);
}

/** The first number that no volume of the machine ever had. */
export async function nextNumber(directory: RunDirectory): Promise<number> {
  return (await readLedger(directory)).next;
}

/** Every attachment that may still be in the guest, by number. */
export async function readAttachments(directory: RunDirectory): Promise<Attachment[]> {
  return (await readLedger(directory)).made;
}

/** Id of the device in the guest's machine. */
export function deviceOf({ name, number }: Attachment): string {
  return `${name}.${number}`;
}

/** Name of the disk node in QEMU: at most 31 characters, the first a letter (block.c). */
export function nodeOf({ digest, number }: Attachment): string {
  return `d${digest.slice(0, 12)}.${number}`;
}

/** True for a node that `nodeOf` has named. */
export function isVolumeNode(node: string): boolean {
  return /^d[0-9a-f]{12}\.\d+$/.test(node);
}

async function readLedger(directory: RunDirectory): Promise<Ledger> {
  const ledger = await readJson<Ledger>(directory.attachments);
  if (ledger && Number.isInteger(ledger.next) && Array.isArray(ledger.made)) return ledger;
  return existsSync(directory.attachments) ? await withoutLedger(directory) : { next: 1, made: [] };
}

/**
 * What a torn ledger is taken to have said: the guest has the volumes that it was launched with, which is so unless they
 * were swapped since, and QEMU is asked which of them it really has. The next number is one that cannot have been used:
 * the seconds since 1970.
 */
async function withoutLedger(directory: RunDirectory): Promise<Ledger> {
  const volumes = (await readSpec(directory))?.volumes ?? [];
  const made = volumes.map((volume, i) => ({ ...volume, number: i + 1 }));
  return { next: Math.floor(Date.now() / 1000), made };
}
