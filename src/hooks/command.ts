import { execa } from 'execa';
import type { HookFacts } from '../domain/hooks.ts';
import { environmentFor } from '../environment.ts';

/** Between asking a command to end and ending it, milliseconds. */
const GRACE = 2_000;
const KEPT_LINES = 5;

/** How a hook went wrong: `ended with 3`, and the last that it said. */
export interface Failure {
  how: string;
  said: string[];
}

interface ShellCommand {
  command: string;
  /** absolute */
  folder: string;
  /** added to what every command gets */
  env: Record<string, string>;
  onLine: (line: string) => void;
}

/** Runs a shell command, and ends it with all that it has started when the signal says so. Null: it has succeeded. */
export async function runCommand(shell: ShellCommand, signal: AbortSignal): Promise<Failure | null> {
  const { command, folder, env, onLine } = shell;
  const last: string[] = [];
  // A group of its own: a shell that is killed leaves what it has started.
  const options = { shell: true, detached: true, stdin: 'ignore', all: true } as const;
  const child = execa(command, {
    ...{ ...options, cwd: folder, buffer: false, reject: false },
    ...{ env: environmentFor(command, env), extendEnv: false },
  });
  const kill = () => signalGroup(child.pid, 'SIGKILL');
  const forsake = () => {
    kill();
    // Whoever has left the group may hold the pipes for ever.
    child.stdout.destroy();
    child.stderr.destroy();
  };
  let overdue: NodeJS.Timeout | undefined;
  const end = () => {
    signalGroup(child.pid, 'SIGTERM');
    overdue = setTimeout(forsake, GRACE);
  };
  signal.addEventListener('abort', end, { once: true });
  process.once('exit', kill);
  try {
    for await (const line of child.iterable({ from: 'all' })) {
      onLine(line);
      if (line.trim() !== '') last.push(line.trim());
      if (last.length > KEPT_LINES) last.shift();
    }
  } catch (error) {
    if (!signal.aborted) throw error;
  } finally {
    clearTimeout(overdue);
    signal.removeEventListener('abort', end);
    process.off('exit', kill);
    if (signal.aborted) kill();
  }
  const { failed, exitCode, signal: killedBy, shortMessage } = await child;
  if (!failed) return null;
  if (exitCode !== undefined) return { how: `ended with ${exitCode}`, said: last };
  return { how: killedBy ? `was ended by ${killedBy}` : `could not be run: ${shortMessage}`, said: last };
}

/** What a command is told; what is not known is empty. */
export function environmentOf(facts: HookFacts): Record<string, string> {
  return {
    UNIDEPLOY_HOOK: facts.point,
    UNIDEPLOY_SERVICE: facts.service,
    UNIDEPLOY_ROLLOUT: `${facts.rollout ?? ''}`,
    UNIDEPLOY_FROM: `${facts.from ?? ''}`,
    UNIDEPLOY_TO: `${facts.to ?? ''}`,
    UNIDEPLOY_INSTANCES: facts.instances.join(' '),
    UNIDEPLOY_PERFORMER: facts.performer,
    UNIDEPLOY_REASON: facts.reason ?? '',
  };
}

function signalGroup(leader: number | undefined, signal: NodeJS.Signals): void {
  if (leader === undefined) return;
  try {
    process.kill(-leader, signal);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}
