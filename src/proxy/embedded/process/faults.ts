import type { Log } from '../log.ts';

/**
 * Logs what nobody caught. A broken connection that nobody listened to concerns that connection alone: serving goes on.
 * After anything else the state of the process is unknown, and its routing cannot be relied on: `lost` is called.
 */
export function onFault(log: Log, lost: () => void): void {
  const caught = (fault: unknown) => {
    const error = fault instanceof Error ? fault : new Error(String(fault));
    const { code, syscall } = error as NodeJS.ErrnoException;
    log('error', 'unexpected fault', { code, syscall, stack: error.stack });
    if (syscall === undefined || !CONNECTION_BROKE.has(code ?? '')) lost();
  };
  process.on('uncaughtException', caught);
  process.on('unhandledRejection', caught);
}

const CONNECTION_BROKE = new Set([
  'ECONNRESET',
  'EPIPE',
  'ECONNABORTED',
  'ETIMEDOUT',
  'EHOSTUNREACH',
  'ENOTCONN',
]);
