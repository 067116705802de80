import type { Command } from 'commander';
import { begin } from '../begin.ts';
import { serviceOf } from '../context.ts';
import { runMove } from '../move.ts';
import { startingOptions } from '../patience.ts';

export function retryCommand(program: Command): void {
  const command = program
    .command('retry')
    .description('try the last rollout again, which did not succeed, by its exact artifacts');
  startingOptions(command, 'abort');
  runMove(command, async (move) => {
    const { client, context } = move;
    const service = await serviceOf(context, client);
    return await begin(move, service, () => client.retry(service, context.performer));
  });
}
