import { Script } from 'node:vm';

const call = new Script('globalThis.__job()');

/** Calls a function that returns at once, and interrupts it where it has not done so after `ms` milliseconds. */
export function within<T>(ms: number, job: () => T): T {
  Object.assign(globalThis, { __job: job });
  return call.runInThisContext({ timeout: ms }) as T;
}
