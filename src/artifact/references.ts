import type { Stats } from 'node:fs';
import { stat } from 'node:fs/promises';
import type { FileReference } from '../config/config.ts';
import { UnideployError } from '../errors.ts';

/**
 * The path of a file that the config names.
 * @throws UD_FILE_NOT_FOUND with the line of the config
 */
export async function existingFile(reference: FileReference): Promise<string> {
  const found = await statReference(reference, 'file');
  if (!found.isFile()) throw notFound(reference, 'is not a file');
  return reference.path;
}

/**
 * The path of a folder that the config names.
 * @throws UD_FILE_NOT_FOUND with the line of the config
 */
export async function existingFolder(reference: FileReference): Promise<string> {
  const found = await statReference(reference, 'folder');
  if (!found.isDirectory()) throw notFound(reference, 'is not a folder');
  return reference.path;
}

async function statReference(reference: FileReference, what: string): Promise<Stats> {
  try {
    return await stat(reference.path);
  } catch (error) {
    throw notFound(reference, `is no ${what}: ${errno(error)}`);
  }
}

function notFound({ where, written, path }: FileReference, why: string): UnideployError {
  return new UnideployError(
    'UD_FILE_NOT_FOUND',
    `${where}: ${written} ${why}`,
    `make ${path}, correct the path, or build it with image.build or volumes[].build`,
  );
}

function errno(error: unknown): string {
  const code = (error as NodeJS.ErrnoException).code;
  return code === 'ENOENT' ? 'it does not exist' : code === 'EACCES' ? 'permission denied' : `${code}`;
}
