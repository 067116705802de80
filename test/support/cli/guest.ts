import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { execa } from 'execa';

const EXAMPLE = fileURLToPath(new URL('../../../examples/linux-unikernel/', import.meta.url));

/** The boot files of the reference guest, built when they have not been. */
export async function referenceGuest(
  kind: 'files' | 'php' = 'files',
): Promise<{ kernel: string; initrd: string }> {
  const kernel = join(EXAMPLE, 'build.out', 'vmlinux');
  const initrd = join(EXAMPLE, 'build.out', kind === 'php' ? 'php.initrd.img' : 'initrd.img');
  if (!existsSync(kernel) || !existsSync(initrd)) {
    await execa(join(EXAMPLE, 'build'), kind === 'php' ? ['php'] : []);
  }
  return { kernel, initrd };
}
