import { execa, type Options, type Result } from 'execa';
import { environmentFor } from '../environment.ts';
import { UnideployError } from '../errors.ts';

/** Takes each line a command prints, as it comes. */
export type OnLine = (line: string) => void;

/** A shell command of the user's. */
export interface UserCommand {
  command: string;
  /** absolute */
  folder: string;
  /** added to what every command gets */
  env: Record<string, string>;
  /** `file:line:column` where the user wrote it */
  where: string;
  onLine: OnLine;
  /** ends it, and all that it has started */
  signal: AbortSignal | undefined;
}

/** A program that unideploy needs from the system. */
export interface Tool {
  name: string;
  debianPackage: string;
}

const LAST_LINES = 20;

/**
 * Runs a user's command with `/bin/sh`.
 * @throws UD_BUILD_FAILED with its last lines
 */
export async function runUserCommand(user: UserCommand): Promise<void> {
  const { command, folder, env, where, onLine, signal } = user;
  signal?.throwIfAborted();
  const last: string[] = [];
  const options = {
    shell: true,
    // A process group of its own: what a shell has started does not end with the shell.
    detached: true,
    cwd: folder,
    env: environmentFor(command, env),
    extendEnv: false,
    stdin: 'ignore',
    all: true,
    buffer: false,
    reject: false,
  } as const;
  const subprocess = execa(command, options);
  const stop = () => endGroup(subprocess.pid, 'SIGTERM');
  const kill = () => endGroup(subprocess.pid, 'SIGKILL');
  signal?.addEventListener('abort', stop);
  process.once('exit', kill);
  try {
    for await (const line of subprocess.iterable({ from: 'all' })) {
      onLine(line);
      last.push(line);
      if (last.length > LAST_LINES) last.shift();
    }
  } finally {
    signal?.removeEventListener('abort', stop);
    process.off('exit', kill);
  }
  const result = await subprocess;
  if (!result.failed) return;
  throw new UnideployError(
    'UD_BUILD_FAILED',
    withLast(`the command at ${where} ${ending(result)}`, last),
    `run it by hand in ${folder}: ${command}`,
  );
}

/**
 * Runs a system tool to its end, in a fixed locale and time zone.
 * @returns what it printed to standard error
 * @throws UD_TOOL_MISSING; UD_BUILD_FAILED with its last lines
 */
export async function runTool(tool: Tool, args: string[], options: Options = {}): Promise<string> {
  const result = await execa(tool.name, args, {
    ...options,
    env: { ...environmentFor('', {}), ...systemPath(), LC_ALL: 'C', TZ: 'UTC', ...options.env },
    extendEnv: false,
    stdin: 'ignore',
    reject: false,
    all: true,
  });
  if (result.code === 'ENOENT')
    throw new UnideployError(
      'UD_TOOL_MISSING',
      `the program ${tool.name} is not installed`,
      `install the Debian package ${tool.debianPackage}, or the one that brings ${tool.name} on your system`,
      { cause: result },
    );
  const lines = String(result.all ?? '').split('\n');
  if (result.failed) throw toolFailed(tool, ending(result), lines);
  return String(result.stderr ?? '');
}

/** An error is one line. */
function withLast(what: string, lines: readonly string[]): string {
  const said = lines.map((line) => line.trim()).filter((line) => line !== '');
  return said.length === 0 ? what : `${what}; its last lines: ${said.join(' | ')}`;
}

/** The error of a tool that did not do its work. */
export function toolFailed(tool: Tool, how: string, lines: readonly string[]): UnideployError {
  return new UnideployError(
    'UD_BUILD_FAILED',
    withLast(`${tool.name} ${how}`, lines.slice(-LAST_LINES)),
    'see its last lines; a full disk is the usual cause',
  );
}

/** Debian keeps mkfs and debugfs where an ordinary user's PATH does not look. */
function systemPath(): { PATH: string } {
  return { PATH: `${process.env.PATH ?? '/usr/bin:/bin'}:/usr/sbin:/sbin` };
}

function endGroup(leader: number | undefined, signal: NodeJS.Signals): void {
  if (leader === undefined) return;
  try {
    process.kill(-leader, signal);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}

function ending(result: Pick<Result, 'exitCode' | 'signal' | 'shortMessage'>): string {
  if (result.exitCode !== undefined) return `ended with exit code ${result.exitCode}`;
  return result.signal === undefined
    ? `could not be run: ${result.shortMessage}`
    : `was ended by ${result.signal}`;
}
