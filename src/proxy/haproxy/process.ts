import { once } from 'node:events';
import { closeSync, openSync, readFileSync } from 'node:fs';
import { readdir, readFile, writeFile } from 'node:fs/promises';
import { type AddressInfo, createServer } from 'node:net';
import pRetry from 'p-retry';
import { startDetached } from '../../detached.ts';
import { isHostTrouble, UnideployError } from '../../errors.ts';
import type { ListenAddress, RoutingTable } from '../port.ts';
import { writeCertificates } from './certificates.ts';
import { haproxyConfig } from './config.ts';
import { LIMITS } from './limits.ts';
import { word } from './names.ts';
import { hasMap, isClosed, mapEntries } from './pools.ts';
import { mapFile, type ProcessFiles } from './records.ts';
import { Runtime } from './runtime.ts';
import { luaScript } from './script.ts';

export interface Start {
  program: string;
  listen: ListenAddress;
  tables: RoutingTable[];
  /** certificates with their keys, by the services */
  pems: Map<string, string>;
  files: ProcessFiles;
  /** the runtime socket of the process that has the address: its listening socket is taken over as it is */
  from: string | undefined;
  onStart: (pid: number) => Promise<void>;
  /** throws UD_FENCED where another controller has the processes */
  expectCommand: () => void;
}

/**
 * Starts an HAProxy that serves the tables and outlives this process; resolves once it answers.
 * UD_TOOL_MISSING, UD_PORT_IN_USE, UD_PROXY_FAILED.
 */
export async function startHaproxy({ program, listen, tables, files, ...start }: Start): Promise<void> {
  const closed = tables.filter(isClosed).map(({ service }) => word(service));
  await writeFile(files.script, luaScript(closed), { mode: 0o600 });
  for (const table of tables.filter(hasMap)) {
    const lines = mapEntries(table).map(([key, value]) => `${key} ${value}\n`);
    await writeFile(mapFile(files, table.service), lines.join(''), { mode: 0o600 });
  }
  await writeCertificates(files, tables, start.pems);
  await writeFile(files.config, haproxyConfig(listen, tables, files), { mode: 0o600 });
  // Debian keeps it where an ordinary user's PATH does not look
  const env = { PATH: `${process.env.PATH ?? '/usr/bin:/bin'}:/usr/sbin:/sbin` };
  const takeover = start.from === undefined ? [] : ['-x', start.from];
  start.expectCommand();
  const lines = openSync(files.lines, 'r+');
  const args = ['-db', '-f', files.config, ...takeover];
  const child = startDetached(program, args, { log: files.log, cwd: '/', env, third: lines });
  closeSync(lines);
  let ended: { code?: string | undefined } | undefined;
  void child.then((result) => {
    ended = result;
  });
  if (child.pid !== undefined) await start.onStart(child.pid);
  const runtime = new Runtime(files.socket, start.expectCommand);
  try {
    await pRetry(
      async () => {
        if (!(await runtime.answers())) throw new Error('it does not answer');
      },
      { retries: 1_000, factor: 1, minTimeout: 20, maxRetryTime: LIMITS.start, shouldRetry: () => !ended },
    );
  } catch (error) {
    child.kill('SIGKILL');
    if (ended?.code === 'ENOENT') throw toolMissing(program, error);
    throw await startFailed(listen, files.log, error);
  }
}

/** A port that can be listened on soon: the one asked for, or one that the system chooses (UD_PORT_IN_USE). */
export async function freePort(address: ListenAddress): Promise<number> {
  return await pRetry(() => portNow(address), {
    ...{ retries: 1_000, factor: 1, minTimeout: LIMITS.poll, maxRetryTime: LIMITS.bind },
    shouldRetry: ({ error }) => error instanceof UnideployError && error.code === 'UD_PORT_IN_USE',
  });
}

async function portNow({ host, port }: ListenAddress): Promise<number> {
  const server = createServer();
  try {
    server.listen({ host, port });
    await once(server, 'listening');
    return (server.address() as AddressInfo).port;
  } catch (error) {
    throw portInUse({ host, port }, error as NodeJS.ErrnoException);
  } finally {
    server.close();
  }
}

/** Whether the process is the HAProxy of this configuration, and not one that has got its number since. */
export function isRunning(pid: number, { config }: ProcessFiles): boolean {
  try {
    // empty for a process that has ended
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0').includes(config);
  } catch (error) {
    // A host that can open no more files has found nothing out.
    if (isHostTrouble(error)) throw error;
    return false;
  }
}

/** The process of a configuration, whoever started it; undefined where none runs. */
export async function findHaproxy(files: ProcessFiles): Promise<number | undefined> {
  const numbers = (await readdir('/proc')).map(Number).filter(Number.isInteger);
  return numbers.find((pid) => isRunning(pid, files));
}

/** Ends the process now, whatever it has in flight. Idempotent. */
export async function endHaproxy(pid: number, files: ProcessFiles, expectCommand: () => void): Promise<void> {
  const killAt = performance.now() + LIMITS.terminate;
  if (isRunning(pid, files)) process.kill(pid, 'SIGTERM');
  await pRetry(
    () => {
      if (!isRunning(pid, files)) return;
      expectCommand();
      if (performance.now() > killAt) process.kill(pid, 'SIGKILL');
      throw new UnideployError('UD_DEADLINE', `HAProxy (process ${pid}) has not ended`, 'end it by hand');
    },
    { retries: 10_000, factor: 1, minTimeout: LIMITS.poll, maxRetryTime: 2 * LIMITS.terminate },
  );
}

export function toolMissing(program: string, cause?: unknown): UnideployError {
  return new UnideployError(
    'UD_TOOL_MISSING',
    `the program ${program} is not installed`,
    'install it, on Debian with: apt-get install haproxy',
    { cause },
  );
}

async function startFailed(listen: ListenAddress, log: string, cause: unknown): Promise<UnideployError> {
  const lines = (await readFile(log, 'utf8').catch(() => '')).trim().split('\n');
  const alert = lines.find((line) => line.startsWith('[ALERT]')) ?? lines.at(-1) ?? '';
  if (alert.includes('cannot bind')) return portInUse(listen, { message: alert });
  return new UnideployError(
    'UD_PROXY_FAILED',
    `HAProxy did not start: ${alert}`,
    'check what it complains of',
    {
      cause,
    },
  );
}

function portInUse(
  { host, port }: ListenAddress,
  error: { code?: string | undefined; message: string },
): UnideployError {
  return new UnideployError(
    'UD_PORT_IN_USE',
    `cannot listen on ${host}:${port}: ${error.code === 'EADDRINUSE' ? 'another program does' : error.message}`,
    'end what listens there, or choose another `listen` address',
    { cause: error },
  );
}
