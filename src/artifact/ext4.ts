import { rm, writeFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import { runTool, toolFailed } from './commands.ts';
import { digestText } from './digest.ts';
import { ext4Size } from './ext4-size.ts';
import type { StagedTree } from './stage.ts';
import type { TreeEntry } from './tree.ts';

const MKFS = { name: 'mkfs.ext4', debianPackage: 'e2fsprogs' };
const DEBUGFS = { name: 'debugfs', debianPackage: 'e2fsprogs' };
/** e2fsprogs takes 0 for "now". */
const FAKE_TIME = { E2FSPROGS_FAKE_TIME: '1' };

/**
 * Packs a staged folder as ext4 without a journal, the same bytes for the same content. The files are written one by
 * one in a fixed order: `mkfs.ext4 -d` takes them in the order of the source's file system, with its owners and
 * change times.
 * @throws UD_TOOL_MISSING, UD_BUILD_FAILED
 */
export async function packExt4(tree: StagedTree, out: string, label: string): Promise<void> {
  const { blocks, blockSize, inodes } = ext4Size(tree.entries);
  const uuid = uuidOf(`${tree.id} ${label}`);
  await rm(out, { force: true });
  await runTool(
    MKFS,
    [
      ...[
        '-q',
        '-F',
        '-b',
        `${blockSize}`,
        '-I',
        '256',
        '-N',
        `${inodes}`,
        '-m',
        '0',
        '-L',
        label,
        '-U',
        uuid,
      ],
      ...['-E', `hash_seed=${uuid},root_owner=0:0,nodiscard`],
      // Named one by one: the defaults are the distribution's.
      ...['-O', 'none,extent,filetype,sparse_super,large_file'],
      ...[out, `${blocks}`],
    ],
    { env: { ...FAKE_TIME, MKE2FS_CONFIG: '/dev/null' } },
  );
  await fill(tree, out);
}

async function fill(tree: StagedTree, out: string): Promise<void> {
  const script = `${out}.commands`;
  await writeFile(script, commands(tree.entries));
  const printed = await runTool(DEBUGFS, ['-w', '-f', script, out], { cwd: tree.folder, env: FAKE_TIME });
  await rm(script);
  // debugfs ends with 0 whatever happened; it prints its version and then only what went wrong.
  const wrong = printed.split('\n').filter((line) => line !== '' && !line.startsWith('debugfs 1.'));
  if (wrong.length > 0) throw toolFailed(DEBUGFS, 'could not write the files', wrong);
}

function commands(entries: readonly TreeEntry[]): string {
  let folder = '';
  const lines: string[] = [];
  for (const entry of entries) {
    const parent = dirname(`/${entry.path}`);
    const name = quoted(entry.path.slice(entry.path.lastIndexOf('/') + 1));
    if (parent !== folder) lines.push(`cd ${quoted(parent)}`);
    folder = parent;
    if (entry.kind === 'folder') lines.push(`mkdir ${name}`);
    else if (entry.kind === 'link') lines.push(`symlink ${name} ${quoted(entry.target)}`);
    else lines.push(`write ${quoted(entry.path)} ${name}`);
    const field = (name: string, value: string) =>
      lines.push(`set_inode_field ${quoted(`/${entry.path}`)} ${name} ${value}`);
    field('mtime', '@0');
    if (!entry.owned) continue;
    const { user, group, mode } = entry.owned;
    field('uid', `${user}`);
    field('gid', `${group}`);
    field('mode', `0${(TYPES[entry.kind] | mode).toString(8)}`);
  }
  return `${lines.join('\n')}\n`;
}

/** The upper bits of an inode's mode, of which debugfs knows nothing. */
const TYPES = { folder: 0o040000, file: 0o100000, link: 0o120000 };

function quoted(text: string): string {
  return `"${text.replaceAll('"', '""')}"`;
}

/** Two volumes of different content in one guest must not look like one file system seen twice. */
function uuidOf(text: string): string {
  const hex = digestText(text);
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20, 32)].join(
    '-',
  );
}
