import { createHash } from 'node:crypto';
import type { Dirent } from 'node:fs';
import { lstat, readdir, readlink } from 'node:fs/promises';
import { join } from 'node:path';
import { UnideployError } from '../errors.ts';
import { digestFile } from './digest.ts';

/** What unideploy writes into a volume by itself; a folder of this name at the top is no part of its content. */
export const OWN_FOLDER = '.unideploy';

/** One thing in a folder, its path relative and with slashes. */
export type TreeEntry = (
  | { kind: 'folder'; path: string }
  /** size in bytes */
  | { kind: 'file'; path: string; executable: boolean; size: number }
  | { kind: 'link'; path: string; target: string }
) & {
  /** left out: root's, with the plain modes */
  owned?: Ownership;
};

/** Whose a thing is, by numbers, and what they may do with it: permissions, set-user-id and the like. */
export interface Ownership {
  user: number;
  group: number;
  mode: number;
}

/**
 * The identity of a folder's content: names, bytes, executable bits and symbolic links; no times, and no owners unless
 * the entries tell them.
 * @param entries of the folder, or of one with the same content; those of the folder if left out
 * @returns `tree-` and 24 hex digits
 * @throws UD_BUILD_FAILED for what no volume can hold
 */
export async function treeId(folder: string, entries?: readonly TreeEntry[]): Promise<string> {
  const hash = createHash('sha256');
  for (const entry of entries ?? (await listTree(folder)))
    hash.update(`${JSON.stringify([...(await identity(folder, entry)), ...ownership(entry)])}\n`);
  return `tree-${hash.digest('hex').slice(0, 24)}`;
}

function ownership({ owned }: TreeEntry): number[] {
  return owned ? [owned.user, owned.group, owned.mode] : [];
}

/** Whether a path, a folder's with a slash at its end, is no part of the content. */
export type Ignored = (path: string) => boolean;

/** All that a folder holds, sorted by path, parents before their children. What is in an ignored folder is ignored. */
export async function listTree(folder: string, ignored: Ignored = () => false): Promise<TreeEntry[]> {
  const entries = await listFolder(folder, '', ignored);
  return entries.sort((a, b) => (a.path < b.path ? -1 : 1));
}

async function listFolder(root: string, folder: string, ignored: Ignored): Promise<TreeEntry[]> {
  const entries: TreeEntry[] = [];
  for (const found of await readdir(join(root, folder), { withFileTypes: true, encoding: 'buffer' })) {
    const name = plainText(found.name, join(root, folder), 'name in it');
    if (folder === '' && name === OWN_FOLDER) continue;
    const path = folder === '' ? name : `${folder}/${name}`;
    if (ignored(found.isDirectory() ? `${path}/` : path)) continue;
    entries.push(await entryOf(root, path, found));
    if (found.isDirectory()) entries.push(...(await listFolder(root, path, ignored)));
  }
  return entries;
}

async function entryOf(root: string, path: string, found: Dirent<Buffer>): Promise<TreeEntry> {
  const absolute = join(root, path);
  if (found.isDirectory()) return { kind: 'folder', path };
  if (found.isSymbolicLink())
    return { kind: 'link', path, target: plainText(await readlink(absolute, 'buffer'), absolute, 'target') };
  if (!found.isFile()) throw unfit(absolute, `is ${kindOf(found)}`);
  const { mode, size } = await lstat(absolute);
  return { kind: 'file', path, executable: (mode & 0o100) !== 0, size };
}

/** What is not UTF-8 cannot be opened again, what has a line break cannot be handed to every tool. */
function plainText(bytes: Buffer, path: string, what: string): string {
  const text = bytes.toString('utf8');
  if (!Buffer.from(text).equals(bytes)) throw unfit(path, `has a ${what} that is not UTF-8`);
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for.
  if (/[\x00-\x1f\x7f]/.test(text))
    throw unfit(path, `has a ${what} with a control character: ${JSON.stringify(text)}`);
  return text;
}

function unfit(path: string, why: string): UnideployError {
  return new UnideployError(
    'UD_BUILD_FAILED',
    `${path} ${why}; a volume holds files, folders and symbolic links`,
    'move it out of the folder',
  );
}

function kindOf(found: Dirent<Buffer>): string {
  if (found.isSocket()) return 'a socket';
  if (found.isFIFO()) return 'a named pipe';
  return 'a device';
}

async function identity(root: string, entry: TreeEntry): Promise<unknown[]> {
  switch (entry.kind) {
    case 'folder':
      return ['folder', entry.path];
    case 'link':
      return ['link', entry.path, entry.target];
    case 'file':
      return ['file', entry.path, entry.executable, await digestFile(join(root, entry.path))];
  }
}
