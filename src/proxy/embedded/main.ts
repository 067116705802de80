import { rename, rm, writeFile } from 'node:fs/promises';
import { isAbsolute, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { report } from '../../errors.ts';
import { claim } from './claim.ts';
import { controlServer } from './control.ts';
import { LIMITS } from './limits.ts';
import { logToStderr as log } from './log.ts';
import { planeFiles } from './paths.ts';
import { Plane } from './plane.ts';

/**
 * The data plane's process: `node main.js --state DIR`. It serves until POST /stop on DIR/proxy.sock or SIGTERM, and
 * then answers the requests in flight for up to 30 s. Exit codes: 0, 2 (usage), 4 (failed), 5 (another one runs).
 */
async function main(): Promise<void> {
  const { values } = parseArgs({ options: { state: { type: 'string' } } });
  if (!values.state) {
    log('error', 'usage: main.js --state DIR');
    process.exit(2);
  }
  const files = planeFiles(isAbsolute(values.state) ? values.state : resolve(values.state));
  const plane = new Plane({ log });
  const app = controlServer(plane, () => void end(0, 'stopped'));

  let ending = false;
  /** Gives the control socket and the ports up at once, so that a successor can take them, and ends with the last request. */
  const end = async (code: number, why: string): Promise<void> => {
    if (ending) return;
    ending = true;
    log('info', 'ending', { why });
    await rm(files.socket, { force: true });
    await rm(files.pid, { force: true });
    await app.close();
    await plane.close(LIMITS.softClose);
    process.exit(code);
  };
  endOnFaults(end);
  process.on('SIGHUP', () => undefined);
  for (const signal of ['SIGTERM', 'SIGINT'] as const) process.on(signal, () => void end(0, signal));

  if (!(await claim(files.socket, (path) => app.listen({ path })))) {
    log('error', 'another data plane serves this state directory', { socket: files.socket });
    process.exit(5);
  }
  await writeFile(`${files.pid}.new`, `${process.pid}\n`);
  await rename(`${files.pid}.new`, files.pid);
  log('info', 'data plane started', { pid: process.pid, socket: files.socket });
}

/**
 * A broken connection that nobody listened to concerns that connection alone: serving goes on. After anything else the
 * state of the process is unknown, and its routing cannot be relied on: it gives up its ports softly, and the
 * controller starts another one.
 */
function endOnFaults(end: (code: number, why: string) => Promise<void>): void {
  const onFault = (fault: unknown) => {
    const error = fault instanceof Error ? fault : new Error(String(fault));
    const { code, syscall } = error as NodeJS.ErrnoException;
    log('error', 'unexpected fault', { code, syscall, stack: error.stack });
    if (syscall === undefined || !CONNECTION_BROKE.has(code ?? '')) void end(4, 'a fault in the data plane');
  };
  process.on('uncaughtException', onFault);
  process.on('unhandledRejection', onFault);
}

const CONNECTION_BROKE = new Set([
  'ECONNRESET',
  'EPIPE',
  'ECONNABORTED',
  'ETIMEDOUT',
  'EHOSTUNREACH',
  'ENOTCONN',
]);

main().catch((error) => {
  log('error', 'cannot start', { ...report(error) });
  process.exit(4);
});
