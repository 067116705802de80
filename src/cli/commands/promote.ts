import type { Command } from 'commander';
import { serviceOf } from '../context.ts';
import { follow } from '../follow.ts';
import { runMove } from '../move.ts';
import { followingOptions } from '../patience.ts';
import { neededRollout } from '../results.ts';

export function promoteCommand(program: Command): void {
  const command = program
    .command('promote')
    .description('let the rollout under way go on past the gate that it waits at, and follow it')
    .option('--full', 'past every gate that is still to come, too');
  followingOptions(command, { onInterrupt: 'detach', onGate: 'exit' });
  runMove(command, async (move, { full = false }: { full?: boolean }) => {
    const { client, context } = move;
    const service = await serviceOf(context, client);
    const ordered = await client.promote(service, full, context.performer);
    // The gate that it stood at is open now, whether the rollout has got there yet or not.
    const standing = { ...ordered.standing, gate: null };
    return await follow(move, neededRollout(service, ordered), { after: ordered.after, standing });
  });
}
