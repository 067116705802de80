import { rm, writeFile } from 'node:fs/promises';
import { runTool } from './commands.ts';
import type { StagedTree } from './stage.ts';
import type { TreeEntry } from './tree.ts';

const MKSQUASHFS = { name: 'mksquashfs', debianPackage: 'squashfs-tools' };

/**
 * Packs a staged folder, the same bytes for the same content. Nothing is compressed: a guest's CPU is dearer than the
 * host's disk (the first read of 8 MB by an emulated guest took 0.5 s, 0.9 s with zstd or gzip; attaching was equal),
 * and such an image mounts whatever compressors a kernel has.
 * @throws UD_TOOL_MISSING, UD_BUILD_FAILED
 */
export async function packSquashfs(tree: StagedTree, out: string): Promise<void> {
  const plain = ['-noI', '-noId', '-noD', '-noF', '-noX'];
  const fixed = ['-mkfs-time', '0', '-all-time', '0', '-no-xattrs', '-no-exports'];
  const owners = `${out}.owners`;
  try {
    await runTool(
      MKSQUASHFS,
      [
        ...[
          tree.folder,
          out,
          '-noappend',
          '-no-progress',
          '-no-recovery',
          '-exit-on-error',
          ...plain,
          ...fixed,
        ],
        ...(await ownerOptions(tree, owners)),
      ],
      // mksquashfs refuses to take a time from both its options and its environment.
      { env: { SOURCE_DATE_EPOCH: undefined } },
    );
  } finally {
    await rm(owners, { force: true });
  }
}

/** `-all-root` would win over what single files are said to be. */
async function ownerOptions({ entries }: StagedTree, file: string): Promise<string[]> {
  if (!entries.some(({ owned }) => owned)) return ['-all-root'];
  await writeFile(file, entries.map(ownerLine).join(''));
  return ['-pf', file, '-root-uid', '0', '-root-gid', '0', '-root-mode', '0755'];
}

function ownerLine(entry: TreeEntry): string {
  const plain = entry.kind === 'file' && !entry.executable ? 0o644 : 0o755;
  const { user, group, mode } = entry.owned ?? { user: 0, group: 0, mode: plain };
  return `"/${entry.path.replaceAll(/["\\]/g, '\\$&')}" m 0${mode.toString(8)} ${user} ${group}\n`;
}
