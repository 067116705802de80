import type { Command } from 'commander';
import { printable } from '../../printable.ts';
import { toNumber } from '../arguments.ts';
import { withClient } from '../context.ts';
import { run } from '../run.ts';

export function logsCommand(program: Command): void {
  const command = program
    .command('logs')
    .argument('<instance>', 'its id, as in unideploy status')
    .description("print an instance's console, also of one that is gone")
    .option('-f, --follow', 'go on printing what comes')
    .option('-n, --lines <count>', 'how many lines back', toNumber, 100);
  run(command, (context, instance: string, options: { follow?: boolean; lines: number }) =>
    withClient(context, async (client) => {
      for await (const line of client.console(instance, options.lines, options.follow ?? false)) {
        process.stdout.write(
          context.json ? `${JSON.stringify({ instance, line })}\n` : `${printable(line)}\n`,
        );
      }
      return 0;
    }),
  );
}
