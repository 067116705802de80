import type { Command } from 'commander';
import { buildRequest } from '../build.ts';
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
      const { service, request } = await buildRequest(context, client, 'rollout', true);
      return await follow(client, await client.deploy(service, request), context.renderer);
    }),
  );
}
