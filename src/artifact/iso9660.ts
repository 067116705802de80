import { rm, writeFile } from 'node:fs/promises';
import { runTool } from './commands.ts';
import type { StagedTree } from './stage.ts';
import type { TreeEntry } from './tree.ts';

const XORRISO = { name: 'xorriso', debianPackage: 'xorriso' };

/**
 * Packs a staged folder as ISO 9660 with Rock Ridge, the same bytes for the same content.
 * @throws UD_TOOL_MISSING, UD_BUILD_FAILED
 */
export async function packIso9660(tree: StagedTree, out: string, label: string): Promise<void> {
  const form = ['-r', '-iso-level', '3', '-V', label, '-no-pad', '--set_all_file_dates', 'set_to_mtime'];
  const make = ['-no_rc', '-as', 'mkisofs', '-quiet', '-o', out, ...form, tree.folder];
  const script = `${out}.commands`;
  const commands = tree.entries.flatMap(ownerCommands);
  try {
    if (commands.length > 0) await writeFile(script, ['-iso_rr_pattern off', ...commands, ''].join('\n'));
    const then = commands.length > 0 ? ['--', '-options_from_file', script] : [];
    await runTool(XORRISO, [...make, ...then], { env: { SOURCE_DATE_EPOCH: '0' } });
  } finally {
    await rm(script, { force: true });
  }
}

/** Times last: to change the owner of a thing is to change it now. */
function ownerCommands({ path, owned }: TreeEntry): string[] {
  if (!owned) return [];
  const { user, group, mode } = owned;
  const name = quoted(`/${path}`);
  return [
    `-chown ${user} ${name} --`,
    `-chgrp ${group} ${name} --`,
    `-chmod 0${mode.toString(8)} ${name} --`,
    `-alter_date b =0 ${name} --`,
  ];
}

/** Pieces in quotes of either kind make one word. */
function quoted(text: string): string {
  return `'${text.replaceAll("'", `'"'"'`)}'`;
}
