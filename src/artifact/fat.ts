import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { UnideployError } from '../errors.ts';
import { runTool } from './commands.ts';
import { digestText } from './digest.ts';
import type { StagedTree } from './stage.ts';
import type { TreeEntry } from './tree.ts';

const MFORMAT = { name: 'mformat', debianPackage: 'mtools' };
const MMD = { name: 'mmd', debianPackage: 'mtools' };
const MCOPY = { name: 'mcopy', debianPackage: 'mtools' };

/** Kept out of the environment's time zone, and of the time of day. */
const FIXED = { env: { SOURCE_DATE_EPOCH: '315532800' } };
const CLUSTER = 4096;
const SECTOR = 512;
/** Fewer are a FAT12, which fewer guests read. */
const LEAST_CLUSTERS = 4200;
/** Files given to one mcopy: their names have to fit into its arguments. */
const AT_ONCE = 200;

/**
 * Packs a staged folder as FAT16 or FAT32, the same bytes for the same content. FAT has neither links nor executable
 * files, and does not tell `A` from `a`.
 * @throws UD_TOOL_MISSING, UD_BUILD_FAILED for what FAT cannot hold
 */
export async function packFat(tree: StagedTree, out: string, label: string): Promise<void> {
  const { entries, folder, id } = tree;
  refuseUnfit(entries);
  await rm(out, { force: true });
  const serial = digestText(`${id} ${label}`).slice(0, 8);
  const shape = ['-T', `${sectors(entries)}`, '-h', '64', '-s', '32', '-c', `${CLUSTER / SECTOR}`];
  await runTool(MFORMAT, ['-C', '-i', out, ...shape, '-N', serial, '-v', label.slice(0, 11), '::'], FIXED);
  for (const { kind, path } of entries)
    if (kind === 'folder') await runTool(MMD, ['-i', out, `::${path}`], FIXED);
  for (const [parent, names] of filesByFolder(entries))
    for (let first = 0; first < names.length; first += AT_ONCE) {
      const files = names.slice(first, first + AT_ONCE).map((name) => join(folder, parent, name));
      await runTool(MCOPY, ['-m', '-i', out, ...files, `::${parent}`], FIXED);
    }
}

function filesByFolder(entries: readonly TreeEntry[]): Map<string, string[]> {
  const folders = new Map<string, string[]>();
  for (const { kind, path } of entries) {
    if (kind !== 'file') continue;
    const slash = path.lastIndexOf('/');
    const parent = path.slice(0, Math.max(0, slash));
    folders.set(parent, [...(folders.get(parent) ?? []), path.slice(slash + 1)]);
  }
  return folders;
}

function refuseUnfit(entries: readonly TreeEntry[]): void {
  const seen = new Map<string, string>();
  for (const { kind, path } of entries) {
    const twin = seen.get(path.toLowerCase());
    seen.set(path.toLowerCase(), path);
    // mtools reads brackets in the names of folders as patterns
    const unfit =
      (kind === 'link' && 'is a symbolic link') ||
      (/[<>:"\\|?*[\]]|[. ](\/|$)/.test(path) && 'has a name that FAT does not allow') ||
      (twin !== undefined && `differs from ${twin} only in upper and lower case`);
    if (unfit)
      throw new UnideployError(
        'UD_BUILD_FAILED',
        `${path} ${unfit}, which a FAT volume cannot hold`,
        'rename it, leave it out (.unideployignore), or choose another format',
      );
  }
}

/** With a root folder of a fixed size only in FAT16, whose 512 entries are in the spare clusters. */
function sectors(entries: readonly TreeEntry[]): number {
  const ofFiles = entries.map((entry) => (entry.kind === 'file' ? Math.ceil(entry.size / CLUSTER) : 1));
  // a folder's entry for a name has 32 bytes, and 32 more for each 13 letters
  const ofNames = entries.map(({ path }) => 32 * (2 + Math.ceil(path.length / 13)));
  const names = Math.ceil(ofNames.reduce((sum, each) => sum + each, 0) / CLUSTER) + entries.length;
  const content = ofFiles.reduce((sum, each) => sum + each, 0) + names;
  const clusters = Math.max(LEAST_CLUSTERS, content + 64);
  const tables = Math.ceil((clusters * 4 * 2) / SECTOR);
  return clusters * (CLUSTER / SECTOR) + tables + 128;
}
