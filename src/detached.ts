import { closeSync, openSync } from 'node:fs';
import { execa } from 'execa';

/**
 * Starts a process that outlives this one: its own session, and what it prints goes to a file by a descriptor of its own.
 * Awaiting it tells how it ended, while this process lives; it never rejects. `third` becomes its descriptor 3.
 */
export function startDetached(
  program: string,
  args: string[],
  options: {
    log: string;
    cwd: string;
    env?: Record<string, string>;
    /** nothing of this process's environment */
    cleanEnv?: boolean;
    third?: number;
  },
) {
  // Any descriptor will do; execa's types know those from 3 to 9.
  const log = openSync(options.log, 'a', 0o600) as 3;
  try {
    const child = execa(program, args, {
      detached: true,
      cleanup: false,
      reject: false,
      cwd: options.cwd,
      env: options.env ?? {},
      extendEnv: options.cleanEnv !== true,
      stdio: ['ignore', log, log, ...(options.third === undefined ? [] : [options.third as 4])],
    });
    child.unref();
    return child;
  } finally {
    closeSync(log);
  }
}
