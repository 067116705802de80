import type { Command } from 'commander';
import { withBuilt } from '../build.ts';
import { withClient } from '../context.ts';
import { follow } from '../follow.ts';
import { run } from '../run.ts';

export function rolloutCommand(program: Command): void {
  const command = program
    .command('rollout')
    .description(
      'build what the config says and move the service to it; a revision that does not come up is rolled back',
    );
  run(command, (context) =>
    withClient(context, async (client) => {
      await client.ping();
      return await withBuilt(context, 'rollout', async ({ service, request, upload }) => {
        await upload(client);
        return await follow(client, await client.deploy(service, request), context.renderer);
      });
    }),
  );
}
