import type { Command } from 'commander';
import { toNumber } from '../arguments.ts';
import { serviceOf, withClient } from '../context.ts';
import { run } from '../run.ts';

export function pinCommand(program: Command): void {
  const command = program
    .command('pin')
    .description('keep the artifacts of a revision, to go back to it however many come after it');
  pinning(command, true);
}

export function unpinCommand(program: Command): void {
  pinning(program.command('unpin').description("keep a revision's artifacts by the policy alone"), false);
}

function pinning(command: Command, pinned: boolean): void {
  command.argument('<revision>', 'its number, as in: unideploy history', toNumber);
  run(command, (context, revision: number) =>
    withClient(context, async (client) => {
      const service = await serviceOf(context, client);
      const told = await client.pin(service, revision, pinned, context.performer);
      const line = `revision ${told.number} of ${service} is ${pinned ? '' : 'not '}pinned`;
      process.stdout.write(`${context.json ? JSON.stringify(told) : line}\n`);
      return 0;
    }),
  );
}
