import { setTimeout as pause } from 'node:timers/promises';
import { UnideployError } from '../errors.ts';
import type { HeldLease } from './lease.ts';
import { isGone } from './process-identity.ts';

/** Milliseconds that the kernel may take to end a process that was killed. */
const DIES_WITHIN = 10_000;
/** Milliseconds between two looks whether it has ended. */
const LOOK_EVERY = 20;

/**
 * Opens the store although a controller that lost its lease may have been stopped in the midst of writing: it keeps
 * SQLite's lock for as long as it lives. Once SQLite has waited in vain, those that had the lease before are killed, each
 * known by its process id and start time, and only then; what it had not committed never was.
 *
 * @throws UD_STATE_BUSY when some other program has the lock
 */
export async function pastStuckWriters<T>(
  open: () => T,
  lease: Pick<HeldLease, 'late'>,
  log: (line: string) => void,
): Promise<T> {
  try {
    return open();
  } catch (error) {
    if (!isBusy(error)) throw error;
    const stuck = lease.late();
    if (stuck.length === 0) throw busy(error);
    for (const each of stuck) {
      log(`controller ${each.pid} lost its lease and keeps the database locked: it is killed`);
      // Looked at once more: between this and the signal nothing waits.
      if (isGone(each) === false) process.kill(each.pid, 'SIGKILL');
    }
    const end = performance.now() + DIES_WITHIN;
    while (stuck.some((each) => isGone(each) !== true) && performance.now() < end) await pause(LOOK_EVERY);
  }
  try {
    return open();
  } catch (error) {
    throw isBusy(error) ? busy(error) : error;
  }
}

function isBusy(error: unknown): boolean {
  return (error as { code?: string }).code === 'SQLITE_BUSY';
}

function busy(cause: unknown): UnideployError {
  return new UnideployError(
    'UD_STATE_BUSY',
    'another program keeps the database of the state locked',
    'end it (fuser state.db, in the state folder, shows it), and start the controller again',
    { cause },
  );
}
