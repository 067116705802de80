import { z } from 'zod';
import type { JournalEntry } from '../domain/journal.ts';
import type { HealthPolicy } from '../domain/policy.ts';
import type { ObservedInstance } from '../domain/pool.ts';
import type { GaveUp } from '../domain/restraint.ts';
import type { Build, RevisionSpec } from '../domain/revision.ts';
import type { Goal, Rollout } from '../domain/rollout.ts';
import type { Snapshot } from '../domain/snapshot.ts';
import type { Standing } from '../domain/standing.ts';
import type { Cause } from '../domain/supervision.ts';
import type { TrafficPolicy } from '../domain/traffic.ts';
import type { ErrorReport } from '../errors.ts';
import type { DataVolumeState, Endpoint } from '../hypervisor/port.ts';
import { trafficPolicy } from '../proxy/table.ts';
import { rolloutPolicy } from './policy-message.ts';
import { supervisionPolicy } from './supervision-message.ts';

/** What goes over the API, checked where it comes in. */

const digest = z.string().regex(/^[0-9a-f]{64}$/, 'expected a SHA-256 in lower-case hex');
const name = z.string().regex(/^[a-z][a-z0-9-]{0,19}$/, 'expected a name like "my-site"');
const milliseconds = z.number().int().min(0).max(86_400_000);
const count = z.number().int().min(0).max(500);
const path = z.string().startsWith('/').max(1024);

const spec = z.strictObject({
  image: z.discriminatedUnion('kind', [
    z.strictObject({ kind: z.literal('kernel'), kernel: digest, initrd: digest.nullable() }),
    z.strictObject({ kind: z.literal('disk'), disk: digest, format: z.enum(['raw', 'qcow2']) }),
  ]),
  machine: z.strictObject({
    profile: z.enum(['linux', 'nanos', 'custom']),
    type: z.enum(['q35', 'pc']),
    accel: z.enum(['auto', 'kvm', 'tcg']),
    cpu: z
      .string()
      .regex(/^[\w.,+=-]{1,200}$/)
      .nullable(),
    memory: z.number().int().positive(),
    cpus: z.number().int().positive(),
    cmdline: z.string().regex(/^[ -~]{0,2000}$/, 'expected one line of printable characters'),
    volumes: z.enum(['virtio-scsi', 'virtio-blk']),
    swap: z.enum(['overlap', 'replace']),
    wake: z.union([z.literal('none'), path]).exactOptional(),
  }),
  volumes: z.array(
    z.strictObject({
      name: z.string().regex(/^[a-z][a-z0-9-]{0,15}$/),
      digest,
      format: z.enum(['squashfs', 'ext4', 'iso9660', 'fat', 'raw']),
      size: z.number().int().min(0),
      revision: z.string().max(200).nullable(),
      probe: path,
    }),
  ),
  checks: z.strictObject({
    port: z.number().int().min(1).max(65535),
    healthPath: path,
    revisionPath: path.nullable(),
  }),
  data: z
    .array(
      z.strictObject({
        name: z.string().regex(/^[a-z][a-z0-9-]{0,15}$/),
        size: z
          .number()
          .int()
          .min(1 << 20)
          .max(2 ** 50),
        filesystem: z.enum(['ext4', 'none']),
        snapshot: z.enum(['before-rollout', 'never']),
        keep: z.number().int().min(1).max(30),
        freeze: path.nullable(),
        thaw: path.nullable(),
      }),
    )
    .max(4)
    .optional(),
}) satisfies z.ZodType<RevisionSpec>;

const listen = z.strictObject({ host: z.string().min(1).max(255), port: z.number().int().min(0).max(65535) });

const health = z.strictObject({
  interval: milliseconds.min(10),
  timeout: milliseconds.min(10),
  healthy: z.number().int().positive(),
  unhealthy: z.number().int().positive(),
  deadline: milliseconds,
}) satisfies z.ZodType<HealthPolicy>;

const build = z.strictObject({
  log: digest,
  command: z.string().max(10_000).nullable(),
  environment: z.array(z.string().max(200)).max(1000),
}) satisfies z.ZodType<Build>;

const performer = z.string().min(1).max(200);

export const serviceName = name;
export const artifactDigest = digest;

/** Move the service to this spec and these replicas; `up` is the same, asked for in other words. */
export const deployRequest = z.strictObject({
  kind: z.enum(['rollout', 'up']),
  spec,
  replicas: count.min(1),
  listen,
  traffic: trafficPolicy,
  policy: rolloutPolicy,
  health,
  supervision: supervisionPolicy,
  performer,
  gitCommit: z.string().max(100).nullable(),
  /** missing: from a command line of an earlier version */
  build: build.nullable().optional(),
  /** refuse when the service is at another revision; 0: when it has any; null: whatever it is at */
  expect: z.number().int().min(0).nullable(),
  /** also when nothing differs from what runs: every instance is replaced */
  force: z.boolean(),
  /** take over from the rollout under way, if there is one */
  supersede: z.boolean(),
});
export type DeployRequest = z.infer<typeof deployRequest>;

export const rollbackRequest = z.strictObject({ to: z.number().int().positive().nullable(), performer });
export const scaleRequest = z.strictObject({ replicas: count.min(1), performer });
/** Of everything that needs no more than somebody's name: `down`, `restart`, `retry`, `pause`, `resume`. */
export const performed = z.strictObject({ performer });
/** `full`: no further gate holds the rollout up */
export const promoteRequest = z.strictObject({ performer, full: z.boolean() });
/** `rollout`: that one and no other; null: whichever is under way */
export const abortRequest = z.strictObject({ performer, rollout: z.number().int().positive().nullable() });

/** `unusedFor`: ms that an artifact must not have been asked for; `dryRun`: nothing is removed */
/** A copy of a data volume that is to be made; bytes a second, 0: as many as there can be. */
export const copyRequest = z.object({
  full: z.boolean(),
  rate: z.number().int().min(0).max(Number.MAX_SAFE_INTEGER),
  ...performed.shape,
});

export const collectRequest = z.strictObject({
  unusedFor: z
    .int()
    .min(0)
    .max(366 * 86_400_000),
  dryRun: z.boolean(),
});
/** `instance` null: the only one that there is; `memory` false: its disk alone */
export const takeRequest = z.strictObject({
  instance: z.string().min(1).max(64).nullable(),
  memory: z.boolean(),
  performer,
});
export type TakeRequest = z.infer<typeof takeRequest>;
/** `replaces` null: the instance that was saved gives way */
export const restoreRequest = z.strictObject({ replaces: z.string().min(1).max(64).nullable(), performer });

/** A snapshot as people are told of it. */
export type ShownSnapshot = Pick<
  Snapshot,
  'id' | 'service' | 'instance' | 'revision' | 'createdAt' | 'createdBy' | 'pausedMs'
> & {
  memory: boolean;
  disk: boolean;
  /** of its files */
  bytes: number;
  qemu: string;
};

/** `damaged`: what is left of it cannot be relied on */
export type ListedSnapshot = (ShownSnapshot & { damaged: false }) | { id: string; damaged: true };

/** `pinned` false: its artifacts are kept by the policy alone from now on */
export const pinRequest = z.strictObject({ revision: z.int().positive(), pinned: z.boolean(), performer });

const snapshot = z.string().regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/, 'expected a name of a snapshot');
/** `snapshot` null: it is named by the time */
export const keepRequest = z.strictObject({ snapshot: snapshot.nullable(), performer });
export const keptRequest = z.strictObject({ snapshot, performer });
export const growRequest = z.strictObject({
  size: z
    .int()
    .min(1 << 20)
    .max(2 ** 50),
  performer,
});

/** One file of the artifact store. */
export interface CollectedFile {
  name: string;
  /** of the disk */
  bytes: number;
  /** `image`, `volume NAME`, `build log`, `unknown` (of no revision), or `corrupt` (set aside) */
  what: string;
  /** the newest revision that it was an artifact of */
  of: { service: string; revision: number } | null;
}

/** What became of the artifacts; of a dry run, what would. */
export interface Collected {
  dryRun: boolean;
  removed: CollectedFile[];
  kept: (CollectedFile & { reason: string })[];
}

/** What became of a request: a rollout to follow, or nothing to do. */
export type Started =
  | { kind: 'rollout'; rollout: Rollout }
  /** `revision` null: it serves nothing */
  | { kind: 'unchanged'; service: string; revision: number | null };

/** What became of a revert: a rollout to follow, where an instance has the disk, or it is done. */
export type Reverted = Started | { kind: 'reverted'; volume: string; snapshot: string; aside: string };

/** What somebody's word was for, as it was just before. */
export interface Ordered {
  /** null: nothing is under way */
  rollout: Rollout | null;
  standing: Standing;
  /** position of the last entry of its journal */
  after: number;
}

export interface Plan {
  /** null: nothing to do */
  strategy: string | null;
  from: Goal;
  to: Goal;
  /** the target's number; one that does not exist yet gets it if it is rolled out next */
  steps: JournalEntry[];
  /** simulated duration, ms */
  ms: number;
}

export interface InstanceStatus extends ObservedInstance {
  endpoint: Endpoint | null;
  runState: string | null;
  lastAnswer: string | null;
  /** false: the data plane has taken it out; null: the data plane does not know it */
  usable: boolean | null;
}

export interface ServiceStatus {
  name: string;
  goal: Goal;
  /** where it really listens; null while the data plane does not */
  listen: { host: string; port: number } | null;
  /** how clients really reach it; null while the data plane does not listen */
  traffic: TrafficPolicy | null;
  requests: number;
  failures: number;
  held: number;
  instances: InstanceStatus[];
  /** instances that the supervisor has found sick, and has not replaced yet */
  sick: { instance: string; cause: Cause; sentence: string }[];
  /** instances that are kept, stopped, to be looked at */
  frozen: string[];
  /** the disks that its instance writes to; missing: of a controller of an earlier version */
  data?: DataVolumeState[];
  /** why the supervisor repairs it no more; null: it does, or was told not to */
  gaveUp: GaveUp | null;
  /** the rollout under way */
  open: Rollout | null;
  /** instances of another revision that are kept without traffic, to go back to quickly; `until`: epoch milliseconds */
  warm: { revision: number; until: number } | null;
}

/** A service as the API tells of it. */
export interface ShownService extends ServiceStatus {
  /** what keeps the rollout under way from going on; null: none is */
  standing: Standing | null;
}

export interface Pong {
  version: string;
  pid: number;
  /** path of the state folder; empty for clients elsewhere */
  state: string;
  /** what keeps it from its work now, a full disk for one; missing: of a controller of an earlier version */
  troubles?: ErrorReport[];
}
