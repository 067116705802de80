import { renameSync, writeFileSync } from 'node:fs';
import { confined, confinedEnvironment, type Limits, type User } from '../../confinement.ts';
import { startDetached } from '../../detached.ts';
import type { Exit } from '../../domain/supervision.ts';
import { UnideployError } from '../../errors.ts';
import type { Stopped } from '../port.ts';
import type { ExpectCommand } from './command.ts';
import { lastLines } from './console.ts';
import { queryStatus, quit, systemPowerdown } from './qmp/commands.ts';
import type { QmpSession } from './qmp/session.ts';
import { isExiting, isProcessOf, livingPid, type RunDirectory } from './run-directory.ts';
import { until } from './wait.ts';

/** Why a QEMU that was started here is gone; never settles while it runs. */
export type Ended = Promise<{ error: UnideployError; exit: Exit }>;

/** Starts QEMU, confined, so that it outlives this process. What it says goes to qemu.log. */
export function startProcess(
  words: string[],
  directory: RunDirectory,
  bounds: { user: User | null; limits: Limits },
): { ended: Ended } {
  const [program = '', ...args] = confined(words, bounds);
  const child = startDetached(program, args, {
    log: directory.log,
    cwd: directory.path,
    env: confinedEnvironment(),
    cleanEnv: true,
  });
  if (child.pid !== undefined) recordPid(directory, child.pid);
  return { ended: ended(child, directory) };
}

/** Not by QEMU itself: whom the controller takes for a machine, and may kill, is not for guests to say. */
function recordPid({ pid: file }: RunDirectory, pid: number): void {
  writeFileSync(`${file}.new`, `${pid}\n`, { mode: 0o600 });
  renameSync(`${file}.new`, file);
}

async function ended(child: ReturnType<typeof startDetached>, directory: RunDirectory): Ended {
  const { exitCode, signal } = await child;
  const exit = { code: exitCode ?? null, signal: signal ?? null };
  const line = (await lastLines(directory.log, 1).catch(() => null))?.[0];
  const how = signal === undefined ? `exit code ${exitCode ?? 'unknown'}` : signal;
  const error = new UnideployError(
    'UD_GUEST_START',
    `QEMU ended at once (${how}): ${line ?? 'it said nothing'}`,
    `read ${directory.log} and ${directory.console}`,
  );
  return { error, exit };
}

export interface StopDeadlines {
  /** milliseconds the guest has after its power button was pressed; 0 does not ask it */
  graceMs: number;
  /** milliseconds QEMU has to answer or to follow a command */
  commandMs?: number;
  /** asked before each signal */
  expectCommand: ExpectCommand;
}

/**
 * Ends the machine and resolves when its process is gone: power button, then `quit`, then signals. Needs no monitor
 * that answers. Throws UD_DEADLINE when even SIGKILL does not end it.
 */
export async function stopProcess(
  directory: RunDirectory,
  session: QmpSession | null,
  { graceMs, commandMs = 2_000, expectCommand }: StopDeadlines,
): Promise<Stopped> {
  const pid = livingPid(directory);
  if (pid === null) return 'gone';
  const gone = () => !isProcessOf(directory, pid) && !isExiting(pid);
  const asked = session && (await askMonitor(session, gone, graceMs, commandMs));
  if (asked) return asked;
  for (const [signal, deadlineMs] of [
    ['SIGTERM', commandMs],
    ['SIGKILL', 10_000],
  ] as const) {
    expectCommand();
    if (!gone()) kill(pid, signal);
    if (await until(gone, deadlineMs)) return 'forced';
  }
  throw new UnideployError(
    'UD_DEADLINE',
    `process ${pid} does not end, not even by SIGKILL`,
    'look at the state of that process: it waits for a disk or for the kernel',
  );
}

/** Run states in which no guest hears its power button. */
const HOPELESS = new Set(['guest-panicked', 'internal-error', 'io-error', 'paused', 'shutdown', 'watchdog']);

/** How the process went; null, soon, when the monitor does not answer. */
async function askMonitor(
  session: QmpSession,
  gone: () => boolean,
  graceMs: number,
  commandMs: number,
): Promise<Stopped | null> {
  const left = (how: Stopped) => (gone() ? how : null);
  const runState = await queryStatus(session, commandMs).catch(() => null);
  if (runState === null) return left('forced');
  const end = performance.now() + (HOPELESS.has(runState) ? 0 : graceMs);
  while (performance.now() < end) {
    // Pressed again every 2 s: a guest that was still booting has not noticed.
    if (!(await answered(systemPowerdown(session, commandMs), session))) return left('by itself');
    if (await until(gone, Math.min(2_000, end - performance.now()))) return 'by itself';
  }
  if (!(await answered(quit(session, commandMs), session))) return left('forced');
  return (await until(gone, commandMs)) ? 'forced' : null;
}

/** A QEMU that hangs up instead of answering is following the command. */
async function answered(command: Promise<void>, session: QmpSession): Promise<boolean> {
  return command.then(
    () => true,
    () => !session.open,
  );
}

function kill(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}
