import { openDatabase } from '../store/good-copy.ts';
import type { StatePaths } from './paths.ts';

/**
 * Takes the state's lock for this process; null where another one has it. The kernel gives it back when the process ends,
 * however it ends. SQLite's file lock serves, since Node has no flock.
 *
 * @throws UD_DISK_READ_ONLY and the like
 */
export function lockState({ lock }: StatePaths): { release: () => void } | null {
  const db = openDatabase(lock, { timeout: 0 });
  try {
    db.exec('begin exclusive');
  } catch (error) {
    db.close();
    if (String((error as Error).message).includes('locked')) return null;
    throw error;
  }
  return { release: () => db.close() };
}
