import { inspect } from 'node:util';
import type { Command } from 'commander';
import { exitCodeOf, report } from '../errors.ts';
import { type Context, contextOf, rendererOf, secrets } from './context.ts';
import type { Renderer } from './render/renderer.ts';

/** The action of a command: what it returns is the exit code. */
export function run<A extends unknown[]>(
  command: Command,
  action: (context: Context, ...args: A) => Promise<number>,
): Command {
  return command.action(async (...args: unknown[]) => {
    const renderer = await rendererOf(command);
    try {
      process.exitCode = await action(contextOf(command, renderer), ...(args.slice(0, -1) as A));
    } catch (error) {
      fail(renderer, error);
    }
  });
}

function fail(renderer: Renderer, error: unknown): void {
  const { code, message, next } = report(error);
  if (code === 'UD_INTERNAL' && process.env.UNIDEPLOY_DEBUG) console.error(secrets.veil(inspect(error)));
  renderer.error({ code, message: message.replaceAll('\n', ' '), next });
  process.exitCode = exitCodeOf(error);
}
