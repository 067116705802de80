import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { chmod, mkdir, mkdtemp, readFile, rename, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { execa } from 'execa';
import type { CodeVolume, Digest, Image, Machine } from '../../../src/domain/revision.ts';
import type { Hypervisor, InstanceSpec } from '../../../src/hypervisor/port.ts';
import { type QemuOptions, qemuHypervisor } from '../../../src/hypervisor/qemu/index.ts';

/** A state directory and a store of artifacts of its own, with hypervisors that are all taken down at the end. */
export interface World {
  state: string;
  artifactPath: (digest: Digest) => string;
  /** one more hypervisor over the same state, as another controller process would have it */
  hypervisor(options?: Partial<QemuOptions>): Hypervisor;
  spec(
    id: string,
    rest?: { machine?: Partial<Machine>; volumes?: CodeVolume[]; image?: Image },
  ): InstanceSpec;
  /** a code volume that says it is `revision` */
  volume(revision: string, name?: string): Promise<CodeVolume>;
  /** puts any file into the store */
  keep(path: string): Promise<Digest>;
  end(): Promise<void>;
}

export async function world(): Promise<World> {
  // Short: socket paths end at 107 bytes.
  const home = await mkdtemp(join(tmpdir(), 'ud-'));
  const state = join(home, 'state');
  const store = join(home, 'store');
  await mkdir(store, { recursive: true });
  const artifactPath = (digest: Digest) => join(store, digest);
  const hypervisors: Hypervisor[] = [];
  const image = await referenceImage(store);
  return {
    state,
    artifactPath,
    hypervisor(options = {}) {
      const hypervisor = qemuHypervisor({ state, artifactPath, ...options });
      hypervisors.push(hypervisor);
      return hypervisor;
    },
    spec: (id, { machine = {}, volumes = [], image: other = image } = {}) => ({
      id,
      service: 'site',
      revision: 1,
      rollout: 1,
      launchedAt: 0,
      image: other,
      machine: { ...MACHINE, ...machine },
      volumes,
      checks: { port: 80, healthPath: '/health', revisionPath: '/.unideploy/revision' },
    }),
    volume: (revision, name = 'code') => buildVolume(store, revision, name),
    keep: (path) => keep(store, path),
    async end() {
      // A monitor serves one client: the others let go first.
      for (const hypervisor of hypervisors) await hypervisor.close();
      const last = qemuHypervisor({ state, artifactPath });
      for (const { spec } of await last.list()) await last.stop(spec.id, 0);
      await last.close();
      await rm(home, { recursive: true, force: true });
    },
  };
}

export const MACHINE: Machine = {
  profile: 'linux',
  type: 'q35',
  accel: 'tcg',
  cpu: null,
  memory: 128,
  cpus: 1,
  cmdline: 'console=ttyS0 quiet panic=-1',
  volumes: 'virtio-scsi',
  swap: 'overlap',
};

const EXAMPLE = fileURLToPath(new URL('../../../examples/linux-unikernel/', import.meta.url));

/** The reference guest, built when it has not been; linked, not copied: its kernel has 50 MB. */
async function referenceImage(store: string): Promise<Image> {
  const kernel = join(EXAMPLE, 'build.out', 'vmlinux');
  const initrd = join(EXAMPLE, 'build.out', 'initrd.img');
  if (!existsSync(kernel) || !existsSync(initrd)) await execa(join(EXAMPLE, 'build'));
  const link = async (path: string) => {
    const digest = await digestOf(path);
    await symlink(path, join(store, digest));
    return digest;
  };
  return { kind: 'kernel', kernel: await link(kernel), initrd: await link(initrd) };
}

async function buildVolume(store: string, revision: string, name: string): Promise<CodeVolume> {
  const folder = await mkdtemp(join(tmpdir(), 'ud-volume-'));
  try {
    await mkdir(join(folder, 'tree', '.unideploy'), { recursive: true });
    await writeFile(join(folder, 'tree', '.unideploy', 'revision'), `${revision}\n`);
    await writeFile(join(folder, 'tree', 'index.html'), `<h1>${revision}</h1>\n`);
    const image = join(folder, 'volume.squashfs');
    const reproducible = ['-all-root', '-all-time', '0', '-mkfs-time', '0'];
    await execa('mksquashfs', [
      join(folder, 'tree'),
      image,
      '-noappend',
      '-quiet',
      '-no-progress',
      ...reproducible,
    ]);
    const { size } = await stat(image);
    const digest = await keep(store, image);
    return { name, digest, format: 'squashfs', size, revision, probe: '/.unideploy/revision' };
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

async function keep(store: string, path: string): Promise<Digest> {
  const digest = await digestOf(path);
  await rename(path, join(store, digest));
  await chmod(join(store, digest), 0o444);
  return digest;
}

async function digestOf(path: string): Promise<Digest> {
  return createHash('sha256')
    .update(await readFile(path))
    .digest('hex');
}
