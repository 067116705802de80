import { execa } from 'execa';
import { z } from 'zod';
import { CONFINING, confined, confinedEnvironment, type User } from '../../confinement.ts';
import type { Digest } from '../../domain/revision.ts';
import { UnideployError } from '../../errors.ts';
import { IMAGE_TOOL_LIMITS } from './limits.ts';
import { lent } from './reach.ts';
import { WRITTEN } from './run-files.ts';
import { needTools } from './tools.ts';

/** A root disk that was lent to a run directory, and how it is read there. */
export interface LentDisk {
  disk: Digest;
  format: 'raw' | 'qcow2';
  /** the run directory */
  folder: string;
  /** path of qemu-img */
  program: string;
  user: User | null;
}

/** Milliseconds for looking at an image or making one over it. */
const DEADLINE = 30_000;

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
  const said = await qemuImg(image, ['info', '--output=json', '-f', image.format, lent(image.disk)]);
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
  const { failed, complaint } = await qemuImg(image, words);
  if (failed)
    throw new UnideployError(
      'UD_GUEST_START',
      `no overlay over the root disk: ${complaint}`,
      'check that the image is in the store and that its format (raw or qcow2) is the one in the config',
    );
}

async function qemuImg({ program, folder, user }: LentDisk, words: string[]) {
  await needTools(program, ...CONFINING);
  const [first = '', ...rest] = confined([program, ...words], { user, limits: IMAGE_TOOL_LIMITS });
  const { failed, stdout, stderr, timedOut } = await execa(first, rest, {
    cwd: folder,
    env: confinedEnvironment(),
    extendEnv: false,
    reject: false,
    timeout: DEADLINE,
    killSignal: 'SIGKILL',
  });
  const complaint = timedOut ? `not within ${DEADLINE / 1000}s` : (stderr.trim().split('\n').at(-1) ?? '');
  return { failed, stdout, complaint };
}

function refusedImage({ disk }: LentDisk, why: string): UnideployError {
  return new UnideployError(
    'UD_IMAGE_REFUSED',
    `the disk image ${disk.slice(0, 12)} ${why}`,
    'make one whole image of it, in the format that the config says: qemu-img convert -O qcow2 OLD NEW',
  );
}
