import type { Command } from 'commander';
import { begin } from '../begin.ts';
import { serviceOf } from '../context.ts';
import { runMove } from '../move.ts';
import { startingOptions } from '../patience.ts';

export function downCommand(program: Command): void {
  const command = program
    .command('down')
    .description(
      'drain and stop all instances of the service; the last one takes the controller and the proxy with it',
    );
  startingOptions(command, 'detach');
  runMove(command, async (move) => {
    const { client, context } = move;
    const service = await serviceOf(context, client);
    const result = await begin(move, service, () => client.down(service, context.performer));
    if (result.exitCode === 0) await client.stop();
    return result;
  });
}
