import { constants } from 'node:fs';
import { chmod, copyFile, lstat, lutimes, mkdir, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { UnideployError } from '../errors.ts';
import { ignoredIn } from './ignore-file.ts';
import { listTree, OWN_FOLDER, type Ownership, type TreeEntry, treeId } from './tree.ts';

/** A folder ready to be packed: its content's identity in it, and nothing of the place it came from. */
export interface StagedTree {
  /** absolute */
  folder: string;
  /** sorted by path, `.unideploy/revision` among them */
  entries: TreeEntry[];
  /** the content's identity, which `.unideploy/revision` says */
  id: string;
}

/** Whose the things in a folder are to be, by their paths; those that it does not know are root's. */
export type Owners = (path: string) => Promise<Ownership | undefined> | Ownership | undefined;

/** As the folder's own file system has it. */
export function ownersOf(folder: string): Owners {
  return async (path) => {
    const { uid, gid, mode } = await lstat(join(folder, path));
    return { user: uid, group: gid, mode: mode & 0o7777 };
  };
}

/**
 * Copies a folder to `into` (made here) with plain modes and no times, and adds its identity. The identity is taken
 * from the copy: what is packed is what it names, even if someone writes to the source meanwhile. Owners are in the
 * entries alone: the copy needs no privilege.
 * @throws UD_BUILD_FAILED for what no volume can hold; UD_FILE_NOT_FOUND for what cannot be read
 */
export async function stage(source: string, into: string, owners?: Owners): Promise<StagedTree> {
  try {
    await mkdir(into);
    const owned = new Map<string, Ownership>();
    for (const entry of await listTree(source, await ignoredIn(source))) {
      await copyEntry(source, into, entry);
      const found = await owners?.(entry.path);
      if (found) owned.set(entry.path, found);
    }
    const content = (await listTree(into)).map((entry) => {
      const found = owned.get(entry.path);
      return found ? { ...entry, owned: found } : entry;
    });
    const id = await treeId(into, content);
    const own = await addIdentity(into, id);
    const entries = [...content, ...own].sort((a, b) => (a.path < b.path ? -1 : 1));
    await normalize(into, entries);
    return { folder: into, entries, id };
  } catch (error) {
    throw readable(error);
  }
}

async function copyEntry(source: string, into: string, entry: TreeEntry): Promise<void> {
  const to = join(into, entry.path);
  if (entry.kind === 'folder') await mkdir(to);
  else if (entry.kind === 'link') await symlink(entry.target, to);
  else await copyFile(join(source, entry.path), to, constants.COPYFILE_FICLONE);
}

async function addIdentity(into: string, id: string): Promise<TreeEntry[]> {
  const file = `${OWN_FOLDER}/revision`;
  const text = `${id}\n`;
  await mkdir(join(into, OWN_FOLDER));
  await writeFile(join(into, file), text);
  return [
    { kind: 'folder', path: OWN_FOLDER },
    { kind: 'file', path: file, executable: false, size: text.length },
  ];
}

/** Children before parents: touching a child touches the time of its folder. */
async function normalize(into: string, entries: TreeEntry[]): Promise<void> {
  for (const entry of [...entries].reverse()) {
    const path = join(into, entry.path);
    if (entry.kind !== 'link') await chmod(path, entry.kind === 'folder' || entry.executable ? 0o755 : 0o644);
    await lutimes(path, 0, 0);
  }
  await chmod(into, 0o755);
  await lutimes(into, 0, 0);
}

function readable(error: unknown): unknown {
  const { code, path } = error as NodeJS.ErrnoException;
  if (code !== 'ENOENT' && code !== 'EACCES') return error;
  const why = code === 'EACCES' ? 'cannot be read: permission denied' : 'went away while it was packed';
  return new UnideployError('UD_FILE_NOT_FOUND', `${path} ${why}`, 'make it readable and try again', {
    cause: error,
  });
}
