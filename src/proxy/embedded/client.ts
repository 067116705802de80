import { mkdir } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import pRetry from 'p-retry';
import { Pool } from 'undici';
import { z } from 'zod';
import { startDetached } from '../../detached.ts';
import { type Fence, UNFENCED } from '../../domain/fence.ts';
import { fromReport, UnideployError } from '../../errors.ts';
import {
  type ControlError,
  type DataPlane,
  type RoutingTable,
  type TableStatus,
  TOKEN_HEADER,
} from '../port.ts';
import { lastLine } from './process/last-line.ts';
import { planeFiles } from './process/paths.ts';

export interface EmbeddedOptions {
  /** directory of the control socket, the log and the pid file; made if it is missing */
  state: string;
  /** the compiled main file of the data-plane process; the default is the one built with this file */
  entry?: string;
  /** worker processes of a data plane that is started here; one for each core otherwise */
  workers?: number;
  /** of the controller that it is to obey */
  fence?: Fence;
  /** milliseconds it may take to answer, over what it is told to wait itself; 15 s otherwise */
  answerMs?: number;
}

/** The data plane of Node processes of its own: started where none answers, adopted otherwise. */
export function embeddedDataPlane(options: EmbeddedOptions): DataPlane {
  const { state, entry: given, workers, fence = UNFENCED, answerMs = ANSWER_DEADLINE } = options;
  const entry = given ?? defaultEntry();
  const files = planeFiles(state);
  const call = caller(files.socket, fence, answerMs);

  return {
    async ensure() {
      if ((await ping(call)) !== undefined) return;
      await mkdir(state, { recursive: true, mode: 0o700 });
      const args = workers === undefined ? [] : ['--workers', String(workers)];
      fence.check();
      await start([entry, '--state', state, '--token', String(fence.token), ...args], files.log, call);
    },
    apply: (table: RoutingTable) => call<TableStatus>('PUT', path`/tables/${table.service}`, table),
    remove: (service, graceMs) =>
      call<void>(
        'DELETE',
        `${path`/tables/${service}`}?graceMs=${milliseconds(graceMs)}`,
        undefined,
        graceMs + answerMs,
      ),
    status: () => call<TableStatus[]>('GET', '/tables'),
    drained: (service, instance, deadlineMs) =>
      call(
        'GET',
        `${path`/tables/${service}/instances/${instance}/drained`}?deadlineMs=${milliseconds(deadlineMs)}`,
        undefined,
        deadlineMs + answerMs,
      ),
    figures: (service) => call('GET', path`/tables/${service}/figures`),
    metrics: () => call('GET', '/metrics'),
    async upgrade() {
      await call('POST', '/upgrade', given === undefined ? {} : { entry: given }, UPGRADE_DEADLINE);
    },
    async stop() {
      // Slow is not gone: where nothing listens the answer comes at once.
      const pid = await ping(call, STOP_DEADLINE);
      if (pid === undefined) return;
      await call('POST', '/stop');
      await gone(pid);
    },
  };
}

/**
 * The compiled entry: beside this file when this file is compiled itself; the build's, when it runs from its source
 * (Node 20 does not run TypeScript).
 */
function defaultEntry(): string {
  const compiled = import.meta.url.endsWith('.js')
    ? './process/main.js'
    : '../../../dist/src/proxy/embedded/process/main.js';
  return fileURLToPath(new URL(compiled, import.meta.url));
}

type Method = 'GET' | 'PUT' | 'DELETE' | 'POST';
/** `within`: milliseconds for the whole call; one that stands still must not keep its caller for ever */
type Call = <T>(method: Method, path: string, body?: unknown, within?: number) => Promise<T>;

/** Calls of the control socket; refusals come back as the errors they were (UD_PROXY_FAILED: nothing answers). */
function caller(socket: string, fence: Fence, answerMs: number): Call {
  const pool = new Pool('http://data-plane', {
    socketPath: socket,
    // a connection for each call: after an upgrade the socket's name belongs to another process
    pipelining: 0,
    // a drain takes as long as its deadline says
    headersTimeout: 0,
    bodyTimeout: 0,
  });
  return async <T>(method: Method, path: string, body?: unknown, within = answerMs) => {
    fence.check();
    const headers: Record<string, string> = fence.token === 0 ? {} : { [TOKEN_HEADER]: String(fence.token) };
    if (body !== undefined) headers['content-type'] = 'application/json';
    const answer = await pool
      .request({
        method,
        path,
        headers,
        signal: AbortSignal.timeout(milliseconds(within)),
        body: body === undefined ? null : JSON.stringify(body),
      })
      .catch((error: Error) => {
        throw new UnideployError(
          'UD_PROXY_FAILED',
          `the data plane does not answer on ${socket}: ${error.message}`,
          'its log is beside the socket, in proxy.log',
          { cause: error },
        );
      });
    const text = await answer.body.text();
    if (answer.statusCode >= 400) throw refusalOf(text);
    const json = String(answer.headers['content-type']).startsWith('application/json');
    return (json ? JSON.parse(text) : text) as T;
  };
}

function refusalOf(text: string): UnideployError {
  try {
    return fromReport((JSON.parse(text) as ControlError).error);
  } catch {
    return new UnideployError(
      'UD_PROXY_FAILED',
      `the data plane answered: ${text.slice(0, 200)}`,
      'see its log',
    );
  }
}

/** The process id of the data plane that answers, if one does (UD_FENCED: it does, to a newer controller). */
async function ping(call: Call, within = PING_DEADLINE): Promise<number | undefined> {
  const answer = await call('GET', '/', undefined, within).catch((error: UnideployError) => {
    if (error.code === 'UD_FENCED') throw error;
    return undefined;
  });
  const parsed = z.object({ pid: z.int().positive() }).safeParse(answer);
  return parsed.success ? parsed.data.pid : undefined;
}

/** Starts the process and waits until it answers. Its log is a file descriptor of its own: it outlives this process. */
async function start(words: string[], logFile: string, call: Call): Promise<void> {
  const child = startDetached(process.execPath, words, { log: logFile, cwd: '/' });
  let ended = false;
  let last = false;
  child.once('exit', () => {
    ended = true;
  });
  try {
    await pRetry(
      async () => {
        // a child that ended may have found another one, which is as good: asked once more after the end
        last = ended;
        if ((await ping(call)) === undefined) throw new Error(last ? 'it ended' : 'it does not answer');
      },
      { retries: 200, factor: 1, minTimeout: 50, maxRetryTime: START_DEADLINE, shouldRetry: () => !last },
    );
  } catch (error) {
    throw new UnideployError(
      'UD_PROXY_FAILED',
      `the data plane did not start within ${START_DEADLINE / 1000} s: ${(await lastLine(logFile)) ?? (error as Error).message}`,
      `its log is ${logFile}`,
      { cause: error },
    );
  }
}

/** Resolves when the process has ended; it answers requests in flight for up to 30 s first. */
async function gone(pid: number): Promise<void> {
  await pRetry(
    () => {
      if (alive(pid))
        throw new UnideployError(
          'UD_DEADLINE',
          `the data plane (process ${pid}) has not ended`,
          'end it by hand',
        );
    },
    { retries: 10_000, factor: 1, minTimeout: 50, maxRetryTime: STOP_DEADLINE },
  );
}

function alive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}

/** A time that a timer can hold. */
function milliseconds(time: number): number {
  return Math.min(Math.max(0, Math.round(time)), 2_147_483_647);
}

function path(parts: TemplateStringsArray, ...names: string[]): string {
  return parts.map((part, i) => part + encodeURIComponent(names[i] ?? '')).join('');
}

/** milliseconds */
const ANSWER_DEADLINE = 15_000;
const PING_DEADLINE = 5_000;
/** the successor's workers have 15 s of their own */
const UPGRADE_DEADLINE = 30_000;
const START_DEADLINE = 15_000;
const STOP_DEADLINE = 40_000;
