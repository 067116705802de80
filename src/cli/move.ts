import { inspect } from 'node:util';
import type { Command } from 'commander';
import { loadConfig } from '../config/load.ts';
import { apiClient, type Client } from '../daemon/client.ts';
import { report } from '../errors.ts';
import { type Context, contextOf, rendererOf, secrets } from './context.ts';
import { Interruption } from './interruption.ts';
import { type Patience, patienceOf } from './patience.ts';
import type { Result } from './render/renderer.ts';
import { refused } from './results.ts';

/** A command that moves a pool, or follows somebody who does. */
export interface Move {
  context: Context;
  client: Client;
  interruption: Interruption;
  patience: Patience;
}

/** The action of a command that moves a pool: however it ends, its result is the last that it says, and its exit code. */
export function runMove<A extends unknown[]>(
  command: Command,
  action: (move: Move, ...args: A) => Promise<Result>,
): Command {
  return command.action(async (...args: unknown[]) => {
    const interruption = new Interruption();
    const renderer = await rendererOf(command);
    let context: Context | null = null;
    let result: Result;
    try {
      context = contextOf(command, renderer);
      result = await withMove(command, context, interruption, (move) =>
        action(move, ...(args.slice(0, -1) as A)),
      );
    } catch (error) {
      if (process.env.UNIDEPLOY_DEBUG && report(error).code === 'UD_INTERNAL')
        console.error(secrets.veil(inspect(error)));
      result = refused(context && (await nameOf(context)), interruption.instead(error));
    }
    renderer.end(result);
    process.exitCode = result.exitCode;
    interruption.close();
    // What the command had begun, an upload or a tool of a build, is not waited for.
    if (interruption.exitCode !== null) process.exit();
  });
}

async function withMove(
  command: Command,
  context: Context,
  interruption: Interruption,
  work: (move: Move) => Promise<Result>,
): Promise<Result> {
  const client = apiClient(context.paths, context.elsewhere);
  try {
    return await work({ context, client, interruption, patience: patienceOf(command) });
  } finally {
    await client.close();
  }
}

/** Of the service that the command was about, as far as can be known without a controller. */
async function nameOf({ service, file }: Context): Promise<string | null> {
  if (service !== null) return service;
  return await loadConfig(file).then(
    (config) => config.service,
    () => null,
  );
}
