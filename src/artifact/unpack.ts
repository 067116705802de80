import { mkdir } from 'node:fs/promises';
import type { VolumeFormat } from '../domain/revision.ts';
import { UnideployError } from '../errors.ts';
import { runTool, type Tool } from './commands.ts';
import { formatOf } from './formats.ts';

type Readable = Exclude<VolumeFormat, 'raw'>;

/** How each kind of volume is written out into a folder that is there. */
const UNPACKERS: Record<Readable, { tool: Tool; args: (file: string, into: string) => string[] }> = {
  squashfs: {
    tool: { name: 'unsquashfs', debianPackage: 'squashfs-tools' },
    args: (file, into) => ['-no-progress', '-quiet', '-no-xattrs', '-force', '-dest', into, file],
  },
  ext4: {
    tool: { name: 'debugfs', debianPackage: 'e2fsprogs' },
    args: (file, into) => ['-R', `rdump / "${into.replaceAll('"', '""')}"`, file],
  },
  iso9660: {
    tool: { name: 'xorriso', debianPackage: 'xorriso' },
    args: (file, into) => ['-no_rc', '-osirrox', 'on:auto_chmod_on', '-indev', file, '-extract', '/', into],
  },
  fat: {
    tool: { name: 'mcopy', debianPackage: 'mtools' },
    args: (file, into) => ['-s', '-n', '-i', file, '::*', into],
  },
};

/**
 * Writes out what a volume holds, without mounting it.
 * @param into a folder that is not there yet
 * @throws UD_BUILD_FAILED when the bytes are no such volume, UD_TOOL_MISSING
 */
export async function unpackVolume(file: string, format: VolumeFormat, into: string): Promise<void> {
  if (format === 'raw')
    throw new UnideployError(
      'UD_BUILD_FAILED',
      'nobody knows how to read a raw volume',
      'look at it with the tool that made it',
    );
  // debugfs and xorriso take anything for an empty one
  const found = await formatOf(file);
  if (found !== format)
    throw new UnideployError(
      'UD_BUILD_FAILED',
      `${file} is said to be ${format} and is ${found ?? 'not'}`,
      'build it anew',
    );
  await mkdir(into);
  const { tool, args } = UNPACKERS[format];
  await runTool(tool, args(file, into));
}
