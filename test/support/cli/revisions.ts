import { mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { execa } from 'execa';
import type { Workplace } from './workplace.ts';

/** What is to be rolled out next, and how. */
export interface Wanted {
  /** more of the guest's command line: another one is another image, and needs other guests */
  boot?: string;
  /** fault of the guests that have this code: `errors:5` */
  fault?: string;
  initrd?: string;
  /** where code volumes attach; virtio-scsi otherwise */
  volumes?: 'virtio-blk';
  /** what the volume says it is, where that is not its name; null: nothing */
  says?: string | null;
  /** the volume's bytes, where it is not to be a good one */
  spoilt?: { format: 'squashfs' | 'ext4'; bytes: (good: Buffer) => Buffer };
  replicas?: number;
  health?: Record<string, unknown>;
  rollout?: Record<string, unknown>;
  supervision?: Record<string, unknown>;
  proxy?: Record<string, unknown>;
}

/** Short times for everything that a scenario has to wait for. */
const QUICK = {
  health: { interval: '100ms', timeout: '1s', deadline: '20s' },
  rollout: { drain: '5s', stop: '2s', verify: '2s' },
};

/**
 * Writes a config whose code is a volume of that name, which every answer tells its client: the ledger's `revisions` are
 * by these names. Guests take orders to misbehave (`POST /.unideploy/fault/…`).
 */
export async function prepare(place: Workplace, name: string, wanted: Wanted = {}): Promise<void> {
  const { boot = '', initrd, volumes, spoilt, replicas = 2, health, rollout, proxy, supervision } = wanted;
  const file = await packed(place, name, wanted);
  const path = join(place.project, file);
  if (spoilt) await writeFile(path, spoilt.bytes(await readFile(path)));
  await place.configure({
    replicas,
    guest: { cmdline: `ud.control=1 ${boot}`.trim(), ...(initrd && { initrd }), ...(volumes && { volumes }) },
    volumes: [{ file, format: spoilt?.format ?? 'squashfs', revision: name }],
    health: { ...QUICK.health, ...health },
    rollout: { ...QUICK.rollout, ...rollout },
    ...(proxy && { proxy }),
    ...(supervision && { supervision }),
  });
}

/** A ready-made volume, for what unideploy packs itself has no faults. */
async function packed(place: Workplace, name: string, { fault, says = name }: Wanted): Promise<string> {
  const tree = join(place.project, name);
  const file = `${name}.squashfs`;
  await rm(join(place.project, file), { force: true });
  await mkdir(join(tree, '.unideploy'), { recursive: true });
  if (says !== null) await writeFile(join(tree, '.unideploy', 'revision'), `${says}\n`);
  await writeFile(join(tree, 'index.html'), `<h1>${name}</h1>\n`);
  if (fault !== undefined) await writeFile(join(tree, '.unideploy', 'fault'), fault);
  const reproducible = [
    '-noappend',
    '-quiet',
    '-no-progress',
    '-all-root',
    '-all-time',
    '0',
    '-mkfs-time',
    '0',
  ];
  await execa('mksquashfs', [tree, join(place.project, file), ...reproducible]);
  await rm(tree, { recursive: true });
  return file;
}
