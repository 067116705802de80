/** A SHA-256 of bytes, in lower-case hex. */
export type Digest = string;

export type VolumeFormat = 'squashfs' | 'ext4' | 'iso9660' | 'fat' | 'raw';

/** A code volume: immutable, read-only, named by the digest of its bytes. */
export interface CodeVolume {
  name: string;
  digest: Digest;
  format: VolumeFormat;
  /** bytes */
  size: number;
  /** what `.unideploy/revision` in the volume says; null when nobody knows (a foreign file) */
  revision: string | null;
  /** HTTP path at which the application answers with `revision` */
  probe: string;
}

/**
 * A disk that an instance writes to and that outlives it: made empty once, handed on from an instance to its successor,
 * attached to one at a time. Named by the service, not by its bytes.
 */
export interface DataVolume {
  name: string;
  /** bytes that the guest sees, at least: it never shrinks */
  size: number;
  /** what it is made with; none: the guest is given an empty disk */
  filesystem: 'ext4' | 'none';
  /** whether its state is kept before a rollout touches the instance that has it */
  snapshot: 'before-rollout' | 'never';
  /** how many such states are kept, the newest */
  keep: number;
  /** HTTP paths that have the guest write everything and hold still, and go on; null: it is not asked */
  freeze: string | null;
  thaw: string | null;
}

/** What a guest boots: a kernel (with or without an initrd), or a root disk. */
export type Image =
  | { kind: 'kernel'; kernel: Digest; initrd: Digest | null }
  | { kind: 'disk'; disk: Digest; format: 'raw' | 'qcow2' };

export type Accelerator = 'auto' | 'kvm' | 'tcg';

/** The machine shape and the guest profile: how this kind of guest takes disks, stops and is addressed. */
export interface Machine {
  profile: 'linux' | 'nanos' | 'custom';
  /** QEMU machine type */
  type: 'q35' | 'pc';
  accel: Accelerator;
  /** QEMU CPU model; null takes the best of the accelerator (`max` for KVM, `qemu64` for TCG) */
  cpu: string | null;
  /** MiB */
  memory: number;
  cpus: number;
  /** kernel command line; only with a kernel image */
  cmdline: string;
  /** where code volumes attach */
  volumes: 'virtio-scsi' | 'virtio-blk';
  /** `overlap`: the guest holds old and new at once; `replace`: the old one leaves first */
  swap: 'overlap' | 'replace';
  /**
   * How a copy of a running guest is told who it is: an HTTP path that it is POSTed to, or `none` where it needs no telling.
   * Left out: such a guest is never copied.
   */
  wake?: string;
}

/** How an instance is asked for its health and its revision. */
export interface Checks {
  /** guest TCP port of the application */
  port: number;
  healthPath: string;
  /** path that answers the image id of a guest without code volumes; null: the application cannot tell (unverified) */
  revisionPath: string | null;
}

/** What runs, by exact digests. Two equal specs are the same deploy, whoever built it. */
export interface RevisionSpec {
  image: Image;
  machine: Machine;
  volumes: CodeVolume[];
  checks: Checks;
  /** left out: none */
  data?: DataVolume[] | undefined;
}

/** The data volumes of an instance of this revision. */
export function dataOf(spec: Pick<RevisionSpec, 'data'> | null | undefined): DataVolume[] {
  return spec?.data ?? [];
}

/** Immutable record of what runs, numbered per service. */
export interface Revision extends RevisionSpec {
  service: string;
  number: number;
  /** epoch milliseconds */
  createdAt: number;
  createdBy: string;
  gitCommit: string | null;
  /** by which commands its artifacts were made; null: by none, or nobody knows */
  build: Build | null;
  /** when a rollout to it has finished; null: never */
  stableAt: number | null;
  /** its artifacts are kept until somebody unpins it; null: by the policy alone */
  pinned: Pin | null;
}

/** How a revision was made. */
export interface Build {
  /** artifact: what was run, with which environment, what it said and what came of it */
  log: Digest;
  /** of the image; null: it was there, and only volumes were built */
  command: string | null;
  /** names of the variables that were declared for it */
  environment: string[];
}

/** Somebody's wish to be able to go back to a revision, however many come after it. */
export interface Pin {
  by: string;
  /** epoch milliseconds */
  at: number;
}

export type Difference = 'none' | 'volumes' | 'image';

/** What must change in an instance of `from` for it to be one of `to`. */
export function difference(from: RevisionSpec, to: RevisionSpec): Difference {
  if (fixed(from) !== fixed(to)) return 'image';
  const digests = (spec: RevisionSpec) => spec.volumes.map((volume) => volume.digest).join();
  return digests(from) === digests(to) ? 'none' : 'volumes';
}

/** What no swap can change, as text; specs are immutable, and asked for it at every look. */
function fixed(spec: RevisionSpec): string {
  const known = fixedTexts.get(spec);
  if (known !== undefined) return known;
  const { image, machine, checks } = spec;
  const volumes = spec.volumes.map(({ name, probe }) => ({ name, probe }));
  // A disk grows while it is used, and how its states are kept is nothing that the guest has.
  const data = dataOf(spec).map(({ name, filesystem }) => ({ name, filesystem }));
  const text = canonical({ image, machine, checks, volumes, data });
  fixedTexts.set(spec, text);
  return text;
}

const fixedTexts = new WeakMap<RevisionSpec, string>();

/** Every file of the store that an instance needs. */
export function artifactsOf({ image, volumes }: Pick<RevisionSpec, 'image' | 'volumes'>): Digest[] {
  const boot = image.kind === 'disk' ? [image.disk] : [image.kernel, ...(image.initrd ? [image.initrd] : [])];
  return [...boot, ...volumes.map(({ digest }) => digest)];
}

/** What the guest is told it runs (`unideploy.revision=` on its command line), and answers when it has no code volume. */
export function imageId(image: Image): string {
  return image.kind === 'kernel'
    ? `image-${image.kernel.slice(0, 12)}-${image.initrd?.slice(0, 12) ?? 'none'}`
    : `image-${image.disk.slice(0, 24)}`;
}

/** One question to an instance and the only answer that proves the revision. */
export interface Proof {
  path: string;
  expect: string;
}

/** What an instance of this revision must answer before it counts as verified; none: it cannot be verified. */
export function proofs(spec: RevisionSpec): Proof[] {
  if (spec.checks.revisionPath === null) return [];
  if (spec.volumes.length === 0) return [{ path: spec.checks.revisionPath, expect: imageId(spec.image) }];
  return spec.volumes.flatMap(({ probe, revision }) =>
    revision === null ? [] : [{ path: probe, expect: revision }],
  );
}

/**
 * How guests take this revision's volumes. Where no answer tells new code from old, nobody knows when, or whether, the
 * new one is served: such guests are swapped out of traffic, whatever they could hold.
 */
export function swapMode(revision: RevisionSpec | null): Machine['swap'] {
  if (!revision) return 'overlap';
  const { checks, volumes, machine } = revision;
  const provable = checks.revisionPath !== null && volumes.every((volume) => volume.revision !== null);
  return provable ? machine.swap : 'replace';
}

/** JSON with sorted keys: equal values have equal text. */
export function canonical(value: unknown): string {
  return JSON.stringify(value, (_key, inner: unknown) =>
    inner !== null && typeof inner === 'object' && !Array.isArray(inner)
      ? Object.fromEntries(Object.entries(inner).sort(([a], [b]) => (a < b ? -1 : 1)))
      : inner,
  );
}
