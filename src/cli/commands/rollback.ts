import type { Command } from 'commander';
import { UnideployError } from '../../errors.ts';
import { toNumber } from '../arguments.ts';
import { begin } from '../begin.ts';
import { serviceOf } from '../context.ts';
import { runMove } from '../move.ts';
import { startingOptions } from '../patience.ts';

export function rollbackCommand(program: Command): void {
  const command = program
    .command('rollback')
    .argument('[revision]', 'revision number; without it, what was served before the one that runs', toNumber)
    .option('--to <revision>', 'the same as the argument', toNumber)
    .description('move the service back to an earlier revision, by its exact artifacts');
  // A way back that is aborted ends halfway, for a person.
  startingOptions(command, 'detach');
  runMove(command, async (move, revision: number | undefined, { to }: { to?: number }) => {
    if (revision !== undefined && to !== undefined && revision !== to)
      throw new UnideployError('UD_USAGE', `to revision ${revision}, or to ${to}?`, 'name one of them');
    const { client, context } = move;
    const service = await serviceOf(context, client);
    const target = revision ?? to ?? null;
    return await begin(move, service, () => client.rollback(service, target, context.performer));
  });
}
