import type { Command } from 'commander';
import { UnideployError } from '../../errors.ts';
import { toNumber } from '../arguments.ts';
import { serviceOf } from '../context.ts';
import { follow } from '../follow.ts';
import { runMove } from '../move.ts';
import { followingOptions } from '../patience.ts';

export function waitCommand(program: Command): void {
  const command = program
    .command('wait')
    .argument('[rollout]', 'its number; without it, the one under way, or else the last one', toNumber)
    .description('follow a rollout to its end, and exit as it has ended');
  followingOptions(command, { onInterrupt: 'detach', onGate: 'wait' });
  runMove(command, async (move, id?: number) => {
    const { client, context } = move;
    const service = await serviceOf(context, client);
    const { rollouts } = await client.history(service);
    const found =
      id === undefined
        ? (rollouts.find(({ state }) => state === 'open') ?? rollouts[0])
        : rollouts.find((rollout) => rollout.id === id);
    if (found) return await follow(move, found);
    throw new UnideployError(
      'UD_USAGE',
      id === undefined ? `${service} has had no rollout` : `${service} has had no rollout ${id} of late`,
      `see unideploy history --service ${service}`,
    );
  });
}
