import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import ignore from 'ignore';
import type { Ignored } from './tree.ts';

/** At the top of a folder that is packed: what is to be left out, written as in a `.gitignore`. */
const IGNORE_FILE = '.unideployignore';

/** What the folder's ignore file leaves out, itself first of all; nothing where there is none. */
export async function ignoredIn(folder: string): Promise<Ignored> {
  const text = await readFile(join(folder, IGNORE_FILE), 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return null;
    throw error;
  });
  if (text === null) return () => false;
  const rules = ignore().add(text).add(`/${IGNORE_FILE}`);
  return (path) => rules.ignores(path);
}
