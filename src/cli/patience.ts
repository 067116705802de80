import { type Command, Option } from 'commander';
import { toDuration } from './arguments.ts';

/** How long a command stays with a rollout, and when it lets go of it. */
export interface Patience {
  /** milliseconds that it waits until a rollout under way has ended, to begin its own; null: it does not */
  wait: number | null;
  /** milliseconds that it follows a rollout; null: to its end */
  timeout: number | null;
  /** what a signal to the command does to the rollout */
  onInterrupt: 'abort' | 'detach';
  /** what it does when only a person can let the rollout go on */
  onGate: 'exit' | 'wait';
}

/** Options and defaults of a command that has a rollout of its own. */
export function startingOptions(command: Command, onInterrupt: Patience['onInterrupt']): Command {
  return followingOptions(
    command.option(
      '--wait <duration>',
      'while another rollout is under way, wait so long for its end, and then begin',
      toDuration,
    ),
    { onInterrupt, onGate: 'exit' },
  );
}

/** The same of a command that follows somebody's rollout. */
export function followingOptions(
  command: Command,
  defaults: Pick<Patience, 'onInterrupt' | 'onGate'>,
): Command {
  return command
    .addOption(timeoutOption())
    .addOption(
      new Option('--on-interrupt <what>', 'what SIGINT or SIGTERM to this command does to the rollout')
        .choices(['abort', 'detach'])
        .default(defaults.onInterrupt),
    )
    .addOption(
      new Option('--on-gate <what>', 'where only a person lets the rollout go on: exit with 6, or wait')
        .choices(['exit', 'wait'])
        .default(defaults.onGate),
    );
}

export function timeoutOption(): Option {
  return new Option(
    '--timeout <duration>',
    'follow the rollout no longer than that; it goes on, exit code 7',
  ).argParser(toDuration);
}

/** As the options say it; a command that lacks them stays to the end, come what may. */
export function patienceOf(command: Command): Patience {
  const {
    wait = null,
    timeout = null,
    onInterrupt = 'detach',
    onGate = 'wait',
  } = command.opts<Partial<Patience>>();
  return { wait, timeout, onInterrupt, onGate };
}
