import { existsSync } from 'node:fs';
import { type ConnectOptions, connectQmp, type QmpSession } from './qmp/session.ts';
import type { RunDirectory } from './run-directory.ts';

/** Milliseconds after which a monitor without a greeting is taken for another client's, where there is a further one. */
const GREETS_WITHIN = 500;

/**
 * A session with the first monitor that is free. Each serves one client, and a controller that was stopped keeps its
 * connection: the next one has the spare monitor then, and, of a QEMU without one, that of people. Where none answers it
 * is QEMU that hangs, and the first is waited for. Rejects with UD_QMP.
 */
export async function connectMonitor(
  { monitor, spare, debug }: RunDirectory,
  options: ConnectOptions,
): Promise<QmpSession> {
  const end = performance.now() + options.deadlineMs;
  const left = () => Math.max(1, end - performance.now());
  // A QEMU that is only starting has none yet.
  for (const path of [monitor, spare, debug].filter((each) => existsSync(each))) {
    if (options.signal?.aborted || left() <= GREETS_WITHIN) break;
    const session = await connectQmp(path, { ...options, deadlineMs: GREETS_WITHIN }).catch(() => null);
    if (session !== null) return session;
  }
  return await connectQmp(monitor, { ...options, deadlineMs: left() });
}
