import { UnideployError } from '../../../errors.ts';

/** What QEMU answered instead of a result. `message` is its own text. */
export class QmpRefusal extends Error {
  readonly kind: RefusalKind;
  readonly command: string;

  constructor(command: string, qemuClass: string, description: string) {
    super(description);
    this.name = 'QmpRefusal';
    this.command = command;
    this.kind = kindOf(qemuClass, description);
  }
}

export type RefusalKind =
  | 'not-found'
  | 'node-in-use'
  | 'unplug-pending'
  | 'no-hotplug'
  | 'duplicate'
  | 'no-slot'
  | 'write-locked'
  | 'file-missing'
  | 'job-over'
  | 'other';

/**
 * The texts are QEMU's (7.2: qapi/qdev.c, block.c, block/file-posix.c, hw/scsi/scsi-bus.c, softmmu/qdev-monitor.c);
 * the protocol gives nearly all of them the one class GenericError. No other file looks into them.
 */
const TEXTS: [RegExp, RefusalKind][] = [
  [
    /Failed to get .*"?(write|consistent read|resize)"? lock|Is another process using the image/i,
    'write-locked',
  ],
  [/^Job '.*' in state '(concluded|aborting|null)' cannot accept/, 'job-over'],
  [/already in the process of unplug/, 'unplug-pending'],
  [/does not support hotplug/, 'no-hotplug'],
  [/[Nn]ode .*is (in use|busy)|is used as/, 'node-in-use'],
  [/Duplicate (device )?ID|Duplicate nodes?|already used by|already (exists|in use)/i, 'duplicate'],
  [/no slot\/function available|no free slot|slot \d+ .*not available|supports? only 1 device/i, 'no-slot'],
  [/Could not open .*No such file or directory/, 'file-missing'],
  [
    /Device '.*' not found|(Failed|Cannot) (to )?find (device|node)|^Job not found|Dirty bitmap '.*' not found/i,
    'not-found',
  ],
];

function kindOf(qemuClass: string, description: string): RefusalKind {
  if (qemuClass === 'DeviceNotFound') return 'not-found';
  return TEXTS.find(([text]) => text.test(description))?.[1] ?? 'other';
}

/** True for a refusal of one of these kinds. */
export function refused(error: unknown, ...kinds: RefusalKind[]): error is QmpRefusal {
  return error instanceof QmpRefusal && kinds.includes(error.kind);
}

/** The error for people: a volume could not be attached. */
export function attachError(instance: string, volume: string, error: unknown): UnideployError {
  if (!(error instanceof QmpRefusal)) return monitorError(instance, error);
  return new UnideployError(
    'UD_VOLUME_ATTACH',
    `instance ${instance} cannot take volume ${volume}: ${error.message}`,
    NEXT_OF_ATTACH[error.kind] ?? 'read qemu.log and console.log in the run directory of the instance',
    { cause: error },
  );
}

const NEXT_OF_ATTACH: Partial<Record<RefusalKind, string>> = {
  'no-hotplug': 'use machine.volumes: virtio-scsi, or the machine type q35',
  'no-slot': 'wait until the guest has let go of old volumes, or use machine.volumes: virtio-scsi',
  'write-locked':
    'another program has this file open for writing: stop it; files of the store are never written',
  'file-missing': 'build and deploy the volume again: its file is gone from the store',
  duplicate: 'the name is taken in QEMU by a device that unideploy did not make: remove that device',
};

/** The error for people: a job of QEMU's failed. @param said why, in its words */
export function jobError(said: string): UnideployError {
  if (/No space left|File too large|quota exceeded/i.test(said))
    return new UnideployError(
      'UD_DISK_FULL',
      `there is no room for the copy: ${said}`,
      'make room on the disk of the state folder, and copy again; the instance goes on, and nothing of the copy stays',
    );
  return new UnideployError(
    'UD_COPY_FAILED',
    `QEMU could not make the copy: ${said}`,
    'see what the kernel says of the disks (dmesg), and copy again; nothing of the copy stays',
  );
}

/** The conversation with a monitor is at an end, or makes no sense. */
export function broken(message: string, cause?: unknown): UnideployError {
  return new UnideployError('UD_QMP', message, NEXT_OF_MONITOR, { cause });
}

const NEXT_OF_MONITOR =
  'look at qemu.log in the run directory of the instance; a QEMU that hangs is ended by stopping the instance';

/** Anything that went wrong between us and the monitor, as an error for people. */
export function monitorError(instance: string, error: unknown): UnideployError {
  if (error instanceof UnideployError) return error;
  const what = error instanceof QmpRefusal ? `${error.command}: ${error.message}` : messageOf(error);
  return new UnideployError('UD_QMP', `the monitor of instance ${instance}: ${what}`, NEXT_OF_MONITOR, {
    cause: error,
  });
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
