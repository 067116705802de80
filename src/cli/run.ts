import type { Command } from 'commander';
import { exitCodeOf, report } from '../errors.ts';
import { type Context, contextOf } from './context.ts';

/** The action of a command: what it returns is the exit code. */
export function run<A extends unknown[]>(
  command: Command,
  action: (context: Context, ...args: A) => Promise<number>,
): Command {
  return command.action(async (...args: unknown[]) => {
    const context = contextOf(command);
    try {
      process.exitCode = await action(context, ...(args.slice(0, -1) as A));
    } catch (error) {
      fail(context, error);
    }
  });
}

function fail({ renderer }: Context, error: unknown): void {
  const { code, message, next } = report(error);
  if (code === 'UD_INTERNAL' && process.env.UNIDEPLOY_DEBUG) console.error(error);
  renderer.error({ code, message: message.replaceAll('\n', ' '), next });
  process.exitCode = exitCodeOf(error);
}
