import { constants, copyFile, link, mkdir, readdir, realpath, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { Digest } from '../../domain/revision.ts';
import type { RunDirectory } from './run-directory.ts';

/** Where a machine's QEMU finds the artifacts that it may read, seen from its run directory, in which it runs. */
const LENT = 'artifacts';

/** The name by which QEMU opens an artifact: whatever the state folder is called, there is nothing in it to escape. */
export function lent(digest: Digest): string {
  return `${LENT}/${digest}`;
}

/**
 * Lets a machine's QEMU read an artifact of the store, which it cannot see. Doing it again changes nothing; one that is not
 * there is for QEMU to miss.
 */
export async function lend(
  { path }: Pick<RunDirectory, 'path'>,
  digest: Digest,
  source: string,
): Promise<void> {
  const real = await realpath(source).catch(ignoreMissing);
  if (!real) return;
  // Guests of earlier versions have none.
  await mkdir(join(path, LENT), { recursive: true, mode: 0o711 });
  await placeAt(join(path, lent(digest)), real);
}

/** The same bytes under another name: a second link, or a copy where the two are on different file systems. */
async function placeAt(target: string, real: string): Promise<void> {
  try {
    await link(real, target);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'EEXIST') return;
    if (code !== 'EXDEV' && code !== 'EPERM' && code !== 'EMLINK') throw error;
    await copyFile(real, `${target}.new`, constants.COPYFILE_FICLONE);
    await rename(`${target}.new`, target);
  }
}

/** Takes back what was lent, but for these. */
export async function takeBack({ path }: RunDirectory, but: ReadonlySet<Digest>): Promise<void> {
  for (const digest of await readdir(join(path, LENT)).catch(() => []))
    if (!but.has(digest)) await rm(join(path, lent(digest)), { force: true });
}

function ignoreMissing(error: NodeJS.ErrnoException): null {
  if (error.code !== 'ENOENT') throw error;
  return null;
}
