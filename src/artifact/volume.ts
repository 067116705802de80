import { rm, stat } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import type { FileReference, VolumeConfig } from '../config/config.ts';
import type { CodeVolume } from '../domain/revision.ts';
import { UnideployError } from '../errors.ts';
import { type OnLine, runUserCommand } from './commands.ts';
import { digestFile } from './digest.ts';
import { packExt4 } from './ext4.ts';
import { packFat } from './fat.ts';
import { formatOf, isTar } from './formats.ts';
import { packIso9660 } from './iso9660.ts';
import { existingFile, existingFolder } from './references.ts';
import { packSquashfs } from './squashfs.ts';
import { type Owners, ownersOf, stage } from './stage.ts';
import { unpackTar } from './tar.ts';

/** A code volume and the file that holds it: in the work folder, or the user's own. */
export interface BuiltVolume {
  file: string;
  volume: CodeVolume;
}

/**
 * Makes a code volume from what the config says. The same content gives the same bytes.
 * @param workDir an empty folder that lives as long as the files are wanted
 * @throws UD_FILE_NOT_FOUND, UD_BUILD_FAILED, UD_TOOL_MISSING
 */
export async function buildVolume(
  config: VolumeConfig,
  workDir: string,
  onLine: OnLine,
  signal?: AbortSignal,
): Promise<BuiltVolume> {
  const { content } = config;
  // Tools and commands run in folders of their own.
  const work = resolve(workDir);
  switch (content.kind) {
    case 'source': {
      const { path } = content.folder;
      const isFile = (await stat(path).catch(() => null))?.isFile() ?? false;
      if (isFile && (await isTar(path))) return packTar(config, path, work);
      return packFolder(config, await existingFolder(content.folder), work);
    }
    case 'file':
      return takeFile(config, await existingFile(content.file));
    case 'build': {
      const output = await runBuild(config, content, work, onLine, signal);
      const made = await stat(output.path);
      if (made.isDirectory()) return packFolder(config, await existingFolder(output), work);
      const file = await existingFile(output);
      // There are guests that read a tar as it is.
      return config.format !== 'raw' && (await isTar(file))
        ? packTar(config, file, work)
        : takeFile(config, file);
    }
  }
}

/** An archive is packed as the folder that was put into it, and knows the owners that the folder had. */
async function packTar(config: VolumeConfig, archive: string, workDir: string): Promise<BuiltVolume> {
  const unpacked = join(workDir, `${config.name}.unpacked`);
  try {
    const owners = await unpackTar(archive, unpacked);
    return await packFolder(config, unpacked, workDir, owners);
  } finally {
    await rm(unpacked, { recursive: true, force: true });
  }
}

async function packFolder(
  config: VolumeConfig,
  source: string,
  workDir: string,
  owners: Owners = ownersOf(source),
): Promise<BuiltVolume> {
  const { format, name, where } = config;
  if (format === 'raw' || config.revision !== null)
    throw new UnideployError(
      'UD_BUILD_FAILED',
      `${where}: volume "${name}" is built as a folder, which allows neither format raw nor a revision`,
      'choose squashfs, ext4, iso9660 or fat and leave revision out, or let the command make a file',
    );
  const file = join(workDir, `${name}.${format}`);
  const staging = join(workDir, `${name}.staging`);
  try {
    const tree = await stage(source, staging, config.owners === 'preserve' ? owners : undefined);
    await PACKERS[format](tree, file, name);
    return await describe(config, file, tree.id);
  } finally {
    await rm(staging, { recursive: true, force: true });
  }
}

const PACKERS = { squashfs: packSquashfs, ext4: packExt4, iso9660: packIso9660, fat: packFat };

async function takeFile(config: VolumeConfig, file: string): Promise<BuiltVolume> {
  const found = await formatOf(file);
  if (config.format !== 'raw' && found !== config.format)
    throw new UnideployError(
      'UD_BUILD_FAILED',
      `${config.where}: volume "${config.name}" is said to be ${config.format}, the file ${file} is ${found ?? 'not'}`,
      `set format to ${found !== null && found !== 'qcow2' ? found : 'raw'}, or make the file anew`,
    );
  return describe(config, file, config.revision);
}

async function runBuild(
  { name }: VolumeConfig,
  { command, folder, where }: { command: string; folder: string; where: string },
  workDir: string,
  onLine: OnLine,
  signal?: AbortSignal,
): Promise<FileReference> {
  const path = join(workDir, `${name}.output`);
  await rm(path, { recursive: true, force: true });
  await runUserCommand({ command, folder, env: { UNIDEPLOY_OUTPUT: path }, where, onLine, signal });
  const made = await stat(path).catch(() => null);
  if (made === null)
    throw new UnideployError(
      'UD_BUILD_FAILED',
      `the command at ${where} made nothing at $UNIDEPLOY_OUTPUT`,
      'let it write a folder or a file to the path in the variable UNIDEPLOY_OUTPUT',
    );
  return { path, written: '$UNIDEPLOY_OUTPUT', where };
}

async function describe(config: VolumeConfig, file: string, revision: string | null): Promise<BuiltVolume> {
  const { name, format, probe, maxSize, where } = config;
  const [digest, { size }] = await Promise.all([digestFile(file), stat(file)]);
  if (maxSize !== null && size > maxSize)
    throw new UnideployError(
      'UD_BUILD_FAILED',
      `${where}: volume "${name}" has ${size} bytes, and maxSize allows ${maxSize}`,
      'leave out what it need not hold (.unideployignore), or raise maxSize',
    );
  return { file, volume: { name, digest, format, size, revision, probe } };
}
