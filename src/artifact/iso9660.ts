import { runTool } from './commands.ts';
import type { StagedTree } from './stage.ts';

const XORRISO = { name: 'xorriso', debianPackage: 'xorriso' };

/**
 * Packs a staged folder as ISO 9660 with Rock Ridge, the same bytes for the same content.
 * @throws UD_TOOL_MISSING, UD_BUILD_FAILED
 */
export async function packIso9660(tree: StagedTree, out: string, label: string): Promise<void> {
  const form = ['-r', '-iso-level', '3', '-V', label, '-no-pad', '--set_all_file_dates', 'set_to_mtime'];
  await runTool(XORRISO, ['-no_rc', '-as', 'mkisofs', '-quiet', '-o', out, ...form, tree.folder], {
    env: { SOURCE_DATE_EPOCH: '0' },
  });
}
