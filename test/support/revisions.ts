import { type HealthPolicy, NO_GATES, type RolloutPolicy } from '../../src/domain/policy.ts';
import type { DataVolume, Revision } from '../../src/domain/revision.ts';
import { type Goal, type Rollout, underWay } from '../../src/domain/rollout.ts';
import { DEFAULT_SUPERVISION } from '../../src/domain/supervision.ts';
import { DEFAULT_TRAFFIC } from '../../src/domain/traffic.ts';

const LISTEN = { host: '127.0.0.1', port: 0 };

export const HEALTH: HealthPolicy = {
  interval: 1000,
  timeout: 500,
  healthy: 1,
  unhealthy: 3,
  deadline: 10_000,
};

export const POLICY: RolloutPolicy = {
  ...NO_GATES,
  strategy: 'auto',
  maxSurge: 1,
  maxUnavailable: 0,
  parallel: 2,
  drain: 2000,
  stop: 1000,
  keep: 10,
  verify: 3000,
  progressDeadline: 60_000,
  deadline: 120_000,
};

/** A disk that an instance writes to. */
export const DISK: DataVolume = {
  name: 'journal',
  size: 64 << 20,
  filesystem: 'ext4',
  snapshot: 'before-rollout',
  keep: 3,
  freeze: null,
  thaw: null,
};

/** A revision whose image and code are told apart by two letters. */
export function revision(
  number: number,
  {
    image = 'a',
    code = 'x',
    swap = 'overlap',
    data,
  }: { image?: string; code?: string; swap?: 'overlap' | 'replace'; data?: DataVolume[] | undefined } = {},
): Revision {
  return {
    service: 'site',
    number,
    image: { kind: 'kernel', kernel: image.repeat(64), initrd: null },
    machine: {
      profile: 'linux',
      type: 'q35',
      accel: 'tcg',
      cpu: null,
      memory: 128,
      cpus: 1,
      cmdline: '',
      volumes: 'virtio-scsi',
      swap,
    },
    volumes: [
      {
        name: 'code',
        digest: code.repeat(64),
        format: 'squashfs',
        size: 4096,
        revision: `tree-${code}`,
        probe: '/r',
      },
    ],
    checks: { port: 80, healthPath: '/health', revisionPath: '/r' },
    ...(data && { data }),
    createdAt: 0,
    createdBy: 'tester',
    gitCommit: null,
    stableAt: null,
    pinned: null,
    build: null,
  };
}

export function goalOf(number: number | null, replicas: number): Goal {
  return { revision: number, replicas, listen: LISTEN, traffic: DEFAULT_TRAFFIC };
}

export function rollout(id: number, from: Goal, to: Goal, rest: Partial<Rollout> = {}): Rollout {
  return {
    id,
    service: 'site',
    kind: 'rollout',
    from,
    to,
    strategy: 'rolling',
    policy: POLICY,
    health: HEALTH,
    supervision: DEFAULT_SUPERVISION,
    direction: 'forward',
    state: 'open',
    reason: null,
    performer: 'tester',
    startedAt: 0,
    ...underWay(rest.since ?? 0),
    endedAt: null,
    launches: 0,
    renew: null,
    sick: [],
    restore: null,
    among: [],
    ending: null,
    heard: 0,
    ...rest,
  };
}
