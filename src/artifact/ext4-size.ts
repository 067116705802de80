import type { TreeEntry } from './tree.ts';

const BLOCK = 4096;
const INODE = 256;
const BLOCKS_PER_GROUP = 32_768;
/** A symbolic link shorter than this lives in its inode. */
const FAST_LINK = 60;

/** The size of an ext4 without a journal that holds these entries, with little to spare. */
export function ext4Size(entries: readonly TreeEntry[]): {
  blocks: number;
  blockSize: number;
  inodes: number;
} {
  const inodes = entries.length + 32;
  const content = entries.reduce((sum, entry) => sum + contentBlocks(entry), 0) + folderBlocks(entries);
  const tables = Math.ceil((inodes * INODE) / BLOCK);
  const groups = Math.ceil((content + tables) / BLOCKS_PER_GROUP) + 1;
  // Per group: two bitmaps, a backup of the superblock and of the descriptors, and a rounded inode table.
  const overhead = groups * (4 + Math.ceil((groups * 32) / BLOCK));
  // mke2fs leaves out a last group that would be nearly all overhead (its tables and 50 blocks).
  const spare = 64 + (groups > 2 ? Math.ceil(tables / (groups - 1)) : 0);
  return { blocks: content + tables + overhead + spare, blockSize: BLOCK, inodes };
}

function contentBlocks(entry: TreeEntry): number {
  if (entry.kind === 'folder') return 0;
  if (entry.kind === 'link') return Buffer.byteLength(entry.target) < FAST_LINK ? 0 : 1;
  const blocks = Math.ceil(entry.size / BLOCK);
  // An inode holds four extents; more want blocks of their own, 340 extents in each.
  return blocks + (blocks > 1024 ? 2 + Math.ceil(blocks / 10_000) : 0);
}

function folderBlocks(entries: readonly TreeEntry[]): number {
  const bytes = new Map<string, number>([['', 0]]);
  for (const { kind, path } of entries) {
    if (kind === 'folder') bytes.set(path, bytes.get(path) ?? 0);
    const slash = path.lastIndexOf('/');
    const parent = slash < 0 ? '' : path.slice(0, slash);
    const record = Math.ceil((8 + Buffer.byteLength(path) - (slash + 1)) / 4) * 4;
    bytes.set(parent, (bytes.get(parent) ?? 0) + record);
  }
  // A record does not cross a block: the end of each block may be lost to the longest name.
  return [...bytes.values()].reduce((sum, size) => sum + 1 + Math.ceil(size / (BLOCK - 264)), 0);
}
