import { chmod, chown, mkdir, open } from 'node:fs/promises';
import { join } from 'node:path';
import type { User } from '../../confinement.ts';
import type { Image } from '../../domain/revision.ts';

/**
 * The names by which QEMU knows what it writes, seen from its run directory, in which it runs. Its console and its root
 * disk lie beside the controller's files, where it can put nothing in their place; only in `own` it may make files.
 */
export const WRITTEN = {
  monitor: 'own/qmp',
  spare: 'own/spare',
  debug: 'own/debug',
  memory: 'own/memory.elf',
  incoming: 'own/incoming',
  ram: 'own/ram.img',
  console: 'console.log',
  root: 'root.qcow2',
} as const;

/** Lets a machine's QEMU pass through its run directory, without seeing what is in it, and write where it must. */
export async function openTo(path: string, image: Image, user: User | null): Promise<void> {
  await chmod(path, 0o711);
  const own = join(path, 'own');
  await mkdir(own, { recursive: true });
  await chmod(own, 0o700);
  await giveTo(own, user);
  for (const name of [WRITTEN.console, ...(image.kind === 'disk' ? [WRITTEN.root] : [])]) {
    await (await open(join(path, name), 'a', 0o600)).close();
    await giveTo(join(path, name), user);
  }
}

async function giveTo(path: string, user: User | null): Promise<void> {
  if (user !== null) await chown(path, user.uid, user.uid);
}
