import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { VolumeFormat } from '../domain/revision.ts';
import { digestFile } from './digest.ts';
import { listTree, type TreeEntry } from './tree.ts';
import { unpackVolume } from './unpack.ts';

/** One thing in a volume; a file with the digest of its bytes. */
export type Content = TreeEntry & { digest?: string };

/** What a volume holds, sorted by path, without what unideploy puts in by itself. @throws as `unpackVolume` does */
export async function contentsOf(file: string, format: VolumeFormat): Promise<Content[]> {
  const work = await mkdtemp(join(tmpdir(), 'unideploy-volume-'));
  try {
    const tree = join(work, 'tree');
    await unpackVolume(file, format, tree);
    const contents: Content[] = [];
    for (const entry of await listTree(tree)) {
      // mkfs makes it in every ext4
      if (format === 'ext4' && entry.path === 'lost+found') continue;
      contents.push(
        entry.kind === 'file' ? { ...entry, digest: await digestFile(join(tree, entry.path)) } : entry,
      );
    }
    return contents;
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}

/** What has to be done to the first to have the second. */
export interface Change {
  path: string;
  change: 'added' | 'removed' | 'changed';
}

/** Sorted by path. */
export function differences(from: readonly Content[], to: readonly Content[]): Change[] {
  const before = new Map(from.map((entry) => [entry.path, JSON.stringify(entry)]));
  const after = new Map(to.map((entry) => [entry.path, JSON.stringify(entry)]));
  const changes: Change[] = [];
  for (const [path, entry] of before) {
    if (!after.has(path)) changes.push({ path, change: 'removed' });
    else if (after.get(path) !== entry) changes.push({ path, change: 'changed' });
  }
  for (const path of after.keys()) if (!before.has(path)) changes.push({ path, change: 'added' });
  return changes.sort((a, b) => (a.path < b.path ? -1 : 1));
}
