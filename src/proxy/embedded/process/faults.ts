import type { Log } from '../log.ts';

/**
 * Logs what nobody caught. A broken connection that nobody listened to concerns that connection alone, and a disk without
 * room or a process without descriptors concerns what was to be written or opened: serving goes on. After anything else the state of the process is unknown, and its routing cannot be relied on: `lost` is called.
 */
export function onFault(log: Log, lost: () => void): void {
  const caught = (fault: unknown) => {
    const error = fault instanceof Error ? fault : new Error(String(fault));
    const { code, syscall } = error as NodeJS.ErrnoException;
    log('error', 'unexpected fault', { code, syscall, stack: error.stack });
    if (syscall === undefined || !SERVING_GOES_ON.has(code ?? '')) lost();
  };
  // A log that the disk does not take costs its lines, nothing else.
  process.stderr.on('error', () => undefined);
  process.on('uncaughtException', caught);
  process.on('unhandledRejection', caught);
}

const SERVING_GOES_ON = new Set([
  'ECONNRESET',
  'EPIPE',
  'ECONNABORTED',
  'ETIMEDOUT',
  'EHOSTUNREACH',
  'ENOTCONN',
  'ENOSPC',
  'EDQUOT',
  'EROFS',
  'EIO',
  'EMFILE',
  'ENFILE',
]);
