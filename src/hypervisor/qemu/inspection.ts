import { chmod, mkdir, mkdtemp, rm } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { formatOf } from '../../artifact/formats.ts';
import { outsideFile } from '../../artifact/qcow2.ts';
import { type Users, userFor } from '../../confinement.ts';
import type { Digest, RevisionSpec } from '../../domain/revision.ts';
import { UnideployError } from '../../errors.ts';
import { inspectImage } from './images.ts';
import { lend } from './reach.ts';

/**
 * Looks at the disk image and the volumes of a revision before anything is done with them: whoever may deploy must not
 * get at the files of this host by them.
 *
 * @throws UD_IMAGE_REFUSED
 */
export async function inspectRevision(
  { image, volumes }: Pick<RevisionSpec, 'image' | 'volumes'>,
  { state, artifactPath, users }: { state: string; artifactPath: (digest: Digest) => string; users: Users },
): Promise<void> {
  // Volumes are read as they are; this one would do harm only in other hands.
  for (const { name, digest } of volumes) {
    const path = artifactPath(digest);
    const outside = (await formatOf(path)) === 'qcow2' ? await outsideFile(path) : null;
    if (outside === null) continue;
    throw new UnideployError(
      'UD_IMAGE_REFUSED',
      `volume ${name} is a qcow2 image that names a ${outside}`,
      'make a volume of a folder, or one whole image: qemu-img convert -O raw OLD NEW',
    );
  }
  if (image.kind !== 'disk') return;
  const run = join(resolve(state), 'run');
  await mkdir(run, { recursive: true, mode: 0o700 });
  const folder = await mkdtemp(join(run, '.inspected-'));
  try {
    await chmod(folder, 0o711);
    await lend({ path: folder }, image.disk, resolve(artifactPath(image.disk)));
    await inspectImage({ ...image, folder, program: 'qemu-img', user: userFor(users, folder) });
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}
