import type { Command } from 'commander';
import { toNumber } from '../arguments.ts';
import { begin } from '../begin.ts';
import { serviceOf } from '../context.ts';
import { runMove } from '../move.ts';
import { startingOptions } from '../patience.ts';

export function scaleCommand(program: Command): void {
  const command = program
    .command('scale')
    .argument('<replicas>', 'how many instances', toNumber)
    .description(
      'change the number of instances of the revision that runs (until the next rollout says another)',
    );
  startingOptions(command, 'detach');
  runMove(command, async (move, replicas: number) => {
    const { client, context } = move;
    const service = await serviceOf(context, client);
    return await begin(move, service, () => client.scale(service, replicas, context.performer));
  });
}
