import type { Command } from 'commander';
import { serviceOf } from '../context.ts';
import { runMove } from '../move.ts';
import { neededRollout, pausedByUs } from '../results.ts';

export function pauseCommand(program: Command): void {
  const command = program
    .command('pause')
    .description('have the rollout under way stand still, as it is, until somebody resumes or aborts it');
  runMove(command, async ({ client, context }) => {
    const service = await serviceOf(context, client);
    return pausedByUs(neededRollout(service, await client.pause(service, context.performer)));
  });
}
