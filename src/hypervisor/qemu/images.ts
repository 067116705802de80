import { z } from 'zod';
import type { Digest } from '../../domain/revision.ts';
import { UnideployError } from '../../errors.ts';
import { type ImageTool, runImageTool } from './image-tool.ts';
import { IMAGE_TOOL_LIMITS } from './limits.ts';
import { lent } from './reach.ts';
import { WRITTEN } from './run-files.ts';

/** A root disk that was lent to a run directory, and how it is read there. */
export interface LentDisk extends ImageTool {
  disk: Digest;
  format: 'raw' | 'qcow2';
}

/** Milliseconds for looking at an image or making one over it. */
const BOUNDS = { limits: IMAGE_TOOL_LIMITS, deadline: 30_000 };

const TOLD = z.object({
  'virtual-size': z.number(),
  'backing-filename': z.string().optional(),
  'format-specific': z.object({ data: z.object({ 'data-file': z.string().optional() }) }).optional(),
});

/**
 * What a disk image says of itself, read as the format that it is said to have. Whoever has made it may have made it to harm:
 * qemu-img runs under limits, with a deadline, without privileges.
 *
 * @returns bytes that a guest sees
 * @throws UD_IMAGE_REFUSED when it names another file, which might be any of this host, or cannot be read
 */
export async function inspectImage(image: LentDisk): Promise<{ size: number }> {
  const said = await runImageTool(
    image,
    ['info', '--output=json', '-f', image.format, lent(image.disk)],
    BOUNDS,
  );
  if (said.failed) throw refusedImage(image, `is not ${image.format}: ${said.complaint}`);
  const told = TOLD.parse(JSON.parse(said.stdout));
  if (told['backing-filename'] !== undefined)
    throw refusedImage(image, `names a backing file: ${told['backing-filename']}`);
  const dataFile = told['format-specific']?.data['data-file'];
  if (dataFile !== undefined) throw refusedImage(image, `names a data file: ${dataFile}`);
  return { size: told['virtual-size'] };
}

/**
 * Makes the writable overlay over a root disk. The base and its format are named, never guessed: a raw guest disk could
 * otherwise claim to be an overlay over any file of the host.
 */
export async function createOverlay(image: LentDisk): Promise<void> {
  const words = ['create', '-q', '-f', 'qcow2', '-b', lent(image.disk), '-F', image.format, WRITTEN.root];
  const { failed, complaint } = await runImageTool(image, words, BOUNDS);
  if (failed)
    throw new UnideployError(
      'UD_GUEST_START',
      `no overlay over the root disk: ${complaint}`,
      'check that the image is in the store and that its format (raw or qcow2) is the one in the config',
    );
}

function refusedImage({ disk }: LentDisk, why: string): UnideployError {
  return new UnideployError(
    'UD_IMAGE_REFUSED',
    `the disk image ${disk.slice(0, 12)} ${why}`,
    'make one whole image of it, in the format that the config says: qemu-img convert -O qcow2 OLD NEW',
  );
}
