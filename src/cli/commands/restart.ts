import type { Command } from 'commander';
import { begin } from '../begin.ts';
import { serviceOf } from '../context.ts';
import { runMove } from '../move.ts';
import { startingOptions } from '../patience.ts';

export function restartCommand(program: Command): void {
  const command = program
    .command('restart')
    .description('replace every instance by a new one of the same revision, as a rollout does');
  startingOptions(command, 'abort');
  runMove(command, async (move) => {
    const { client, context } = move;
    const service = await serviceOf(context, client);
    return await begin(move, service, () => client.restart(service, context.performer));
  });
}
