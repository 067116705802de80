import { type Command, Option } from 'commander';
import type { Collected, CollectedFile } from '../../daemon/messages.ts';
import { toDelay } from '../arguments.ts';
import { withClient } from '../context.ts';
import { table } from '../render/table.ts';
import { size } from '../render/words.ts';
import { run } from '../run.ts';

export function gcCommand(program: Command): void {
  const command = program
    .command('gc')
    .description(
      'remove the artifacts, and the templates of guests, that nothing runs and that no revision is kept for',
    )
    .option('--dry-run', 'only tell what would go')
    .option('--all', 'tell also what stays, and why')
    .addOption(
      new Option('--unused-for <duration>', 'only what nobody has asked for so long')
        .argParser(toDelay)
        .default(3_600_000, '1h'),
    );
  run(command, (context, options: { dryRun?: true; all?: true; unusedFor: number }) =>
    withClient(context, async (client) => {
      const collected = await client.collect(options.unusedFor, options.dryRun ?? false);
      const text = context.json ? JSON.stringify(collected) : told(collected, options.all ?? false);
      process.stdout.write(`${text}\n`);
      return 0;
    }),
  );
}

function told({ dryRun, removed, kept }: Collected, all: boolean): string {
  const rows = [
    ...removed.map((file) => [...row(file), dryRun ? 'would go' : 'removed']),
    ...(all ? kept.map((file) => [...row(file), file.reason]) : []),
  ];
  const sum = (files: CollectedFile[]) => size(files.reduce((bytes, file) => bytes + file.bytes, 0));
  const verb = dryRun ? 'would remove' : 'removed';
  const last = `${verb} ${removed.length} artifacts (${sum(removed)}), ${kept.length} stay (${sum(kept)})`;
  return rows.length > 0 ? `${table(['artifact', 'what', 'of', 'size', 'because'], rows)}\n${last}` : last;
}

function row({ name, what, of, bytes }: CollectedFile): string[] {
  return [name.slice(0, 12), what, of ? `${of.service} ${of.revision}` : '–', size(bytes)];
}
