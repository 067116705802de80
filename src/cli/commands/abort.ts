import type { Command } from 'commander';
import type { Client } from '../../daemon/client.ts';
import { serviceOf } from '../context.ts';
import { follow } from '../follow.ts';
import { runMove } from '../move.ts';
import { timeoutOption } from '../patience.ts';
import type { Result } from '../render/renderer.ts';
import { unchanged } from '../results.ts';

export function abortCommand(program: Command): void {
  const command = program
    .command('abort')
    .description('have the rollout under way go back to where it came from, and follow it')
    .addOption(timeoutOption());
  runMove(command, async (move) => {
    const { client, context } = move;
    const service = await serviceOf(context, client);
    const { rollout, after, standing } = await client.abort(service, null, context.performer);
    if (!rollout) {
      context.renderer.note('nothing is under way, nothing was changed');
      return unchanged({ service, revision: await revisionOf(client, service) });
    }
    return asAborted(await follow(move, rollout, { after, standing }));
  });
}

/** To go back is what this command is for; and a rollout that had ended before it heard of it was not under way any more. */
function asAborted(result: Result): Result {
  const isDone = ['aborted', 'rolled-back', 'succeeded'].includes(result.result);
  const interrupted = result.exitCode >= 128;
  return isDone && !interrupted ? { ...result, exitCode: 0, error: null } : result;
}

/** Also of a service that was taken down, which serves none. */
async function revisionOf(client: Client, service: string): Promise<number | null> {
  const running = await client.services();
  return running.find(({ name }) => name === service)?.goal.revision ?? null;
}
