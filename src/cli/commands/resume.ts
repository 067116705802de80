import type { Command } from 'commander';
import { serviceOf } from '../context.ts';
import { follow } from '../follow.ts';
import { runMove } from '../move.ts';
import { followingOptions } from '../patience.ts';
import { neededRollout } from '../results.ts';

export function resumeCommand(program: Command): void {
  const command = program
    .command('resume')
    .description('let a paused rollout go on where it was, and follow it');
  followingOptions(command, { onInterrupt: 'detach', onGate: 'exit' });
  runMove(command, async (move) => {
    const { client, context } = move;
    const service = await serviceOf(context, client);
    const ordered = await client.resume(service, context.performer);
    const standing = { ...ordered.standing, pausedBy: null };
    return await follow(move, neededRollout(service, ordered), { after: ordered.after, standing });
  });
}
