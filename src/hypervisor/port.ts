import type { Progress } from '../domain/progress.ts';
import type { CodeVolume, Digest, RevisionSpec } from '../domain/revision.ts';
import type { SavedMachine } from '../domain/snapshot.ts';
import type { Vitals } from '../domain/supervision.ts';

/** Everything a hypervisor needs to start one instance. Written into its run directory, so that it can be adopted. */
export interface InstanceSpec extends RevisionSpec {
  /** unique for all time, e.g. `site-3-1` (service, rollout, ordinal) */
  id: string;
  service: string;
  /** revision number it is launched as */
  revision: number;
  /** id of the rollout that launched it */
  rollout: number;
  /** epoch milliseconds */
  launchedAt: number;
  /** id of the snapshot that it goes on from; left out: it boots */
  snapshot?: string;
}

/** `gone`: it was already. */
export type Stopped = 'by itself' | 'forced' | 'gone';

/** One instance as it really is, from its process, its monitor and its run directory. */
export interface VirtualMachine {
  spec: InstanceSpec;
  /**
   * `starting` until its monitor answers; `stopped` when the process is gone and only the run directory is left; `frozen`: it
   * is no member of a pool any more, and kept to be looked at, with its process or without
   */
  state: 'starting' | 'running' | 'stopped' | 'frozen';
  /** QEMU's own word (`running`, `paused`, `guest-panicked`, …), null while unknown. Proves no health. */
  runState: string | null;
  /** where the application's port is reached from this host; null until known */
  endpoint: Endpoint | null;
  /** code volumes that are attached now, oldest first */
  volumes: AttachedVolume[];
}

export interface AttachedVolume {
  name: string;
  digest: Digest;
}

/** A state of a data volume that is kept. */
export interface DataSnapshot {
  name: string;
  /** epoch milliseconds */
  at: number;
}

/** A data volume as it really is, from its file. */
export interface DataVolumeState {
  service: string;
  name: string;
  /** bytes that a guest sees */
  size: number;
  /** bytes on this host's disk, kept states included */
  used: number;
  /** the instance that has it; null: none */
  attachedTo: string | null;
  /** oldest first */
  snapshots: DataSnapshot[];
  /** it cannot be read */
  damaged: boolean;
}

/** A copy of a data volume that is to be made. */
export interface CopyOrder {
  /** of no other copy of the volume, ever; at most 20 letters, digits and dashes */
  id: string;
  /** path of the file it becomes, which is there only when it is whole */
  to: string;
  /** the copy whose clone it may be made of, with what has changed since; null: it is to be whole */
  base: { id: string; file: string } | null;
  /** the last copy there is: what changed since is known until this one is made */
  last: string | null;
  /** bytes a second; 0: as many as there can be */
  rate: number;
  /** has `start` called, which begins the copy of a disk that a guest has: the content is of that moment */
  around(start: () => Promise<void>): Promise<void>;
  report(progress: Progress): void;
  /** cancels it */
  signal: AbortSignal;
}

export interface CopyMade {
  /** which had the volume, and its revision; null: none had */
  instance: string | null;
  revision: number | null;
  /** bytes that a guest sees */
  size: number;
  /** bytes that were read of the disk */
  copied: number;
  /** the copy it was made of; null: it was made whole */
  on: string | null;
  /** why it was; null: it was not */
  why: string | null;
}

export interface Endpoint {
  host: string;
  port: number;
}

/** A guest of a revision as it was when it was ready, from which others are started as copies of its memory. */
export interface Template {
  /** the same for all machines that may be copies of it */
  key: string;
  service: string;
  /** the number of the revision whose guest it was */
  revision: number;
  /** on the disk */
  bytes: number;
}

/** How a machine is started that is another one's twin at first. */
export interface Copying {
  /** of the template that it is a copy of; left out: it goes on from its spec's snapshot */
  key?: string;
  /**
   * Tells the guest, which runs by now, who it is; until that it is its parent's twin, and nobody is shown it. What it
   * rejects with the launch rejects with.
   */
  wake(guest: { endpoint: Endpoint; mac: string }): Promise<void>;
}

export interface SaveOrder {
  folder: string;
  /** false: the disk alone */
  memory: boolean;
  report: (progress: Progress) => void;
  /** given up when it aborts; the guest goes on */
  signal: AbortSignal;
}

/**
 * Starts, adopts, changes and stops virtual machines. Every method is idempotent: repeating one that has succeeded
 * succeeds, and removing what is gone is no error. Every wait has a deadline and ends in an UnideployError.
 */
export interface Hypervisor {
  /**
   * Starts the machine detached from this process, with `spec.volumes` attached; resolves when its monitor answers. Its data
   * volumes are made if they are not there, and given to it alone (UD_DATA_IN_USE while another one has one of them). A copy of
   * a template is ready and woken then; one that does not come to that leaves nothing, so that it can be booted instead.
   */
  launch(spec: InstanceSpec, copying?: Copying): Promise<void>;
  /** The key of the template that the machine may be started from, and whether there is one. */
  templateFor(spec: InstanceSpec): Promise<{ key: string; isMade: boolean }>;
  /**
   * Boots a guest that is no member of any pool, has `prove` say that it is ready, and keeps it as a template in place of
   * an earlier one. Rejects with what `prove` rejects with, or UD_SAVED_STATE, UD_TEMPLATE, and keeps nothing then.
   */
  makeTemplate(spec: InstanceSpec, prove: (guest: VirtualMachine) => Promise<void>): Promise<void>;
  templates(): Promise<Template[]>;
  removeTemplate(key: string): Promise<void>;
  /** All machines that have a run directory, whoever started them. */
  list(): Promise<VirtualMachine[]>;
  /** One of them; null: there is none. */
  find(id: string): Promise<VirtualMachine | null>;
  /** Attaches a read-only code volume beside those that are there. Success proves nothing about the guest. */
  attachVolume(id: string, volume: CodeVolume): Promise<void>;
  /** Asks the guest to let go of the volume and waits until it has (UD_VOLUME_UNPLUG when it never does). */
  detachVolume(id: string, volume: AttachedVolume): Promise<void>;
  /** Takes `from` out and puts `to` in back to back, for guests that hold one volume at a time. */
  replaceVolume(id: string, from: AttachedVolume, to: CodeVolume): Promise<void>;
  /**
   * Powers the guest down, forces it after `graceMs`, and resolves when the process is gone; its data volumes are nobody's
   * then. Tells whether it had to be forced: what the guest had not written is lost.
   */
  stop(id: string, graceMs: number): Promise<Stopped>;
  /** Stops the guest where it is, for good, and keeps it as evidence until it is stopped and removed. */
  freeze(id: string): Promise<void>;
  /**
   * Writes the guest's memory to a file, in which it stands still meanwhile; keeps at most `limit` MiB of all such files, the
   * newest. Null: it has no memory any more, or more than that. UD_QMP when QEMU cannot.
   */
  dump(id: string, limit: number): Promise<string | null>;
  /**
   * Writes the whole instance as it is in one moment into an empty folder: its root disk, where it has one, and its memory. It
   * stands still meanwhile, goes on in any case, and counts as running. UD_SNAPSHOT_REFUSED where it cannot be had.
   */
  save(id: string, order: SaveOrder): Promise<SavedMachine>;
  /** What is known of the machine beside what runs; takes no longer than `list`. */
  vitals(id: string): Promise<Vitals>;
  /** Forgets a stopped machine: its run directory goes. */
  remove(id: string): Promise<void>;
  /** All data volumes, also those of services that are no more. */
  dataVolumes(): Promise<DataVolumeState[]>;
  /**
   * Keeps the state of a data volume at this moment under a name, whether an instance has it or not, and of those kept
   * by themselves (`before-…`) the newest `keep`. UD_UNKNOWN_VOLUME where it is not.
   */
  snapshotData(service: string, volume: string, snapshot: string, keep: number): Promise<DataSnapshot>;
  forgetData(service: string, volume: string, snapshot: string): Promise<void>;
  /**
   * Makes a data volume that no instance has what it was, keeping its present state under the name `aside`.
   * UD_DATA_IN_USE, UD_UNKNOWN_SNAPSHOT.
   */
  revertData(service: string, volume: string, snapshot: string, aside: string): Promise<void>;
  /** Makes a data volume larger, bytes; never smaller. */
  growData(service: string, volume: string, size: number): Promise<void>;
  /**
   * Copies a data volume as it is at one moment, while its guest goes on writing; one at a time. Nothing of a copy that fails or
   * is cancelled stays, and the guest never notices. UD_UNKNOWN_VOLUME, UD_LOCKED, UD_DISK_FULL, UD_COPY_FAILED, UD_ABORTED.
   */
  copyData(service: string, volume: string, order: CopyOrder): Promise<CopyMade>;
  /**
   * Puts the image of a copy in the place of a data volume that no instance has; the disk that was there stays beside it until
   * the next time. UD_DATA_IN_USE, UD_UNKNOWN_VOLUME.
   */
  restoreData(service: string, volume: string, file: string): Promise<void>;
  /** Removes a data volume that no instance has, and all that is kept of it, for good. */
  removeData(service: string, volume: string): Promise<void>;
  /** The last lines of the guest's console, also of a guest that was removed not long ago. */
  console(id: string, lines: number): Promise<string[]>;
  /** The last lines of the guest's console and those that come, until `signal` or until the guest is removed. */
  followConsole(id: string, lines: number, signal: AbortSignal): AsyncIterable<string>;
  /** Calls back whenever a machine may have changed (an event, an exit). Returns the way to unsubscribe. */
  onChange(listener: (id: string) => void): () => void;
  /** Lets go of all monitors; the machines go on running. */
  close(): Promise<void>;
}
