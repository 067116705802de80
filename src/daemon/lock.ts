import { UnideployError } from '../errors.ts';
import { openDatabase } from '../store/good-copy.ts';
import type { StatePaths } from './paths.ts';

/**
 * Takes the state for this process; the kernel gives it back when the process ends, however it ends. SQLite's file lock
 * serves, since Node has no flock.
 * @throws UD_CONTROLLER_RUNNING; UD_DISK_READ_ONLY and the like
 */
export function lockState({ lock, root }: StatePaths): { release: () => void } {
  const db = openDatabase(lock, { timeout: 0 });
  try {
    db.exec('begin exclusive');
  } catch (error) {
    db.close();
    if (!String((error as Error).message).includes('locked')) throw error;
    throw new UnideployError(
      'UD_CONTROLLER_RUNNING',
      `another controller already runs on ${root}`,
      'use that one, or give this one a state of its own with --state',
      { cause: error },
    );
  }
  return { release: () => db.close() };
}
