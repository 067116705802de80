import type { Command } from 'commander';
import { serviceOf, withClient } from '../context.ts';
import { follow } from '../follow.ts';
import { run } from '../run.ts';
import { toNumber } from './rollback.ts';

export function scaleCommand(program: Command): void {
  const command = program
    .command('scale')
    .argument('<replicas>', 'how many instances', toNumber)
    .description(
      'change the number of instances of the revision that runs (until the next rollout says another)',
    );
  run(command, (context, replicas: number) =>
    withClient(context, async (client) => {
      const service = await serviceOf(context, client);
      const started = await client.scale(service, replicas, context.performer);
      return await follow(client, started, context.renderer);
    }),
  );
}
