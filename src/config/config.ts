import type { HealthPolicy } from '../domain/policy.ts';
import type { Checks, DataVolume, Machine, VolumeFormat } from '../domain/revision.ts';
import type { SupervisionPolicy } from '../domain/supervision.ts';
import type { ListenAddress } from '../proxy/port.ts';
import type { KeyPath, Position } from './positions.ts';
import type { RolloutConfig } from './rollout.ts';
import type { TrafficConfig } from './traffic.ts';

/** What an `unideploy.yaml` says, defaults filled in. Paths are absolute, durations milliseconds, memory MiB. */
export interface Config {
  /** the file as it was named by the user */
  file: string;
  /** absolute folder of the file: build commands run there */
  folder: string;
  service: string;
  replicas: number;
  listen: ListenAddress;
  machine: Machine;
  boot: BootFiles;
  build: ImageBuild | null;
  volumes: VolumeConfig[];
  data: DataVolume[];
  checks: Checks;
  health: HealthPolicy;
  rollout: RolloutConfig;
  supervision: SupervisionPolicy;
  traffic: TrafficConfig;
  /** Where a key stands in the file; the nearest key above it where it was left out. */
  position(path: KeyPath): Position;
}

/** A file the config names. It need not exist before the build commands have run. */
export interface FileReference {
  /** absolute */
  path: string;
  /** as it stands in the config */
  written: string;
  /** `file:line:column` of the value in the config */
  where: string;
}

export type BootFiles =
  | { kind: 'kernel'; kernel: FileReference; initrd: FileReference | null }
  | { kind: 'disk'; disk: FileReference; format: 'raw' | 'qcow2' };

/** A shell command, and what is added to its environment. */
export interface ImageBuild {
  command: string;
  env: Record<string, string>;
  /** absolute */
  folder: string;
  /** `file:line:column` of the command in the config */
  where: string;
}

export interface VolumeConfig {
  name: string;
  content: VolumeContent;
  format: VolumeFormat;
  /** whose the files of a packed folder are: root's, or whose they were, by numbers, with their modes */
  owners: 'root' | 'preserve';
  /** bytes that the image may have; null: any */
  maxSize: number | null;
  /** HTTP path at which the application answers with the volume's revision */
  probe: string;
  /** what a ready-made file carries, by the user's word; null: nobody knows, or the volume is packed here */
  revision: string | null;
  /** `file:line:column` of the volume's format, for errors about what was found in its place */
  where: string;
}

type VolumeContent =
  | { kind: 'source'; folder: FileReference }
  | { kind: 'file'; file: FileReference }
  | { kind: 'build'; command: string; folder: string; where: string };
