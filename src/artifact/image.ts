import type { BootFiles, FileReference, ImageBuild } from '../config/config.ts';
import type { Digest, Image } from '../domain/revision.ts';
import { UnideployError } from '../errors.ts';
import { type OnLine, runUserCommand } from './commands.ts';
import { digestFile } from './digest.ts';
import { formatOf } from './formats.ts';
import { outsideFile } from './qcow2.ts';
import { existingFile } from './references.ts';

/** A file and the digest that names it. */
export interface Artifact {
  digest: Digest;
  /** absolute */
  path: string;
}

/**
 * Runs the image's build command, if it has one, and names what it (or the user) put in place.
 * @throws UD_BUILD_FAILED, UD_FILE_NOT_FOUND
 */
export async function buildImage(
  { build, boot }: { build: ImageBuild | null; boot: BootFiles },
  onLine: OnLine,
  signal?: AbortSignal,
): Promise<{ files: Artifact[]; image: Image }> {
  if (build) await runUserCommand({ ...build, onLine, signal });
  if (boot.kind === 'disk') {
    const disk = await artifact(boot.disk);
    await checkDisk(boot.disk, boot.format);
    return { files: [disk], image: { kind: 'disk', disk: disk.digest, format: boot.format } };
  }
  const kernel = await artifact(boot.kernel);
  const initrd = boot.initrd && (await artifact(boot.initrd));
  return {
    files: initrd ? [kernel, initrd] : [kernel],
    image: { kind: 'kernel', kernel: kernel.digest, initrd: initrd?.digest ?? null },
  };
}

async function artifact(reference: FileReference): Promise<Artifact> {
  const path = await existingFile(reference);
  return { path, digest: await digestFile(path) };
}

async function checkDisk({ path, where, written }: FileReference, format: 'raw' | 'qcow2'): Promise<void> {
  const isQcow2 = (await formatOf(path)) === 'qcow2';
  if (isQcow2 !== (format === 'qcow2'))
    throw new UnideployError(
      'UD_BUILD_FAILED',
      `${where}: ${written} is said to be ${format} and is ${isQcow2 ? '' : 'not '}qcow2`,
      `set guest.disk to {file: ${written}, format: ${isQcow2 ? 'qcow2' : 'raw'}}`,
    );
  const outside = isQcow2 ? await outsideFile(path) : null;
  if (outside !== null)
    throw new UnideployError(
      'UD_BUILD_FAILED',
      `${where}: ${written} has a ${outside}; its digest would not name all that the guest boots`,
      'make one whole image of it: qemu-img convert -O qcow2 OLD NEW',
    );
}
