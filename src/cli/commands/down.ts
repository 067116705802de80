import type { Command } from 'commander';
import { serviceOf, withClient } from '../context.ts';
import { follow } from '../follow.ts';
import { run } from '../run.ts';

export function downCommand(program: Command): void {
  const command = program
    .command('down')
    .description(
      'drain and stop all instances of the service; the last one takes the controller and the proxy with it',
    );
  run(command, (context) =>
    withClient(context, async (client) => {
      const service = await serviceOf(context, client);
      const started = await client.down(service, context.performer);
      const exitCode = await follow(client, started, context.renderer);
      await client.stop();
      return exitCode;
    }),
  );
}
