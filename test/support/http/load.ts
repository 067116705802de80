import { createHistogram, performance } from 'node:perf_hooks';
import { Pool } from 'undici';

export interface LoadOptions {
  url: string;
  /** connections kept open; every one sends its next request when its last has been answered */
  connections: number;
  /** requests a second, all connections together; as many as come back otherwise */
  rate?: number;
  method?: 'GET' | 'HEAD' | 'POST' | 'PUT';
  headers?: Record<string, string>;
  body?: string;
  /** what is wrong with an answer, if something is; an answer other than 2xx is wrong without it */
  check?: (answer: LoadAnswer) => string | undefined;
  /** milliseconds for a whole answer; 60 s otherwise */
  timeout?: number;
}

interface LoadAnswer {
  status: number;
  headers: Record<string, string | string[] | undefined>;
  body: string;
}

/**
 * What the client saw; it counts every request it sent, itself. When the load has stopped,
 * `sent` = `ok` + the sum of `failed`.
 */
export interface Ledger {
  sent: number;
  ok: number;
  failed: {
    /** the connection was refused or broke before an answer */
    connection: number;
    /** the answer began and did not end */
    truncated: number;
    /** an answer other than 2xx */
    status: number;
    /** an answer that `check` found wrong */
    wrong: number;
    timeout: number;
  };
  /** the first failures, for people: at most 20 */
  failures: { at: string; kind: keyof Ledger['failed']; cause: string }[];
  /** right answers by the revision that their x-unideploy-revision header names */
  revisions: Record<string, number>;
  /** of right answers, in milliseconds */
  latency: { p50: number; p99: number; max: number };
  /** from the start to the stop, or to now */
  seconds: number;
}

export interface Load {
  /** the ledger as it stands */
  readonly ledger: Ledger;
  /** Sends no more requests, waits for the answers to those it has sent, and closes the books. */
  stop(): Promise<Ledger>;
}

/** Starts a load: closed loops over kept-alive connections, nothing retried, nothing left out. */
export function startLoad(options: LoadOptions): Load {
  const { origin, pathname, search } = new URL(options.url);
  const timeout = options.timeout ?? 60_000;
  const pool = new Pool(origin, {
    connections: options.connections,
    connect: { timeout },
    headersTimeout: timeout,
    bodyTimeout: timeout,
  });
  const started = performance.now();
  const ledger: Ledger = {
    sent: 0,
    ok: 0,
    failed: { connection: 0, truncated: 0, status: 0, wrong: 0, timeout: 0 },
    failures: [],
    revisions: {},
    latency: { p50: 0, p99: 0, max: 0 },
    seconds: 0,
  };
  const microseconds = createHistogram();
  const pace = pacer(options.rate);
  let stopping = false;

  const send = async (): Promise<void> => {
    const begun = performance.now();
    const outcome = await request(pool, `${pathname}${search}`, options);
    if (outcome.failed === undefined) {
      ledger.ok++;
      microseconds.record(Math.max(1, Math.round((performance.now() - begun) * 1000)));
      const revision = outcome.answer.headers['x-unideploy-revision'];
      if (typeof revision === 'string') ledger.revisions[revision] = (ledger.revisions[revision] ?? 0) + 1;
      return;
    }
    const { kind, cause } = outcome.failed;
    ledger.failed[kind]++;
    if (ledger.failures.length < 20) ledger.failures.push({ at: new Date().toISOString(), kind, cause });
    // a server that refuses connections would be called many thousand times a second
    if (kind === 'connection') await new Promise((resolve) => setTimeout(resolve, 5));
  };
  const loop = async (): Promise<void> => {
    while (!stopping) {
      await pace();
      if (stopping) return;
      ledger.sent++;
      await send();
    }
  };
  const loops = Promise.all(Array.from({ length: options.connections }, loop));

  const current = (): Ledger => {
    if (ledger.ok > 0)
      ledger.latency = {
        p50: microseconds.percentile(50) / 1000,
        p99: microseconds.percentile(99) / 1000,
        max: microseconds.max / 1000,
      };
    ledger.seconds = (performance.now() - started) / 1000;
    return ledger;
  };
  return {
    get ledger() {
      return current();
    },
    async stop() {
      stopping = true;
      await loops;
      await pool.close();
      return current();
    },
  };
}

/** The number of failed requests of a ledger. */
export function failedOf({ failed }: Ledger): number {
  return Object.values(failed).reduce((sum, count) => sum + count, 0);
}

type Outcome =
  | { failed?: undefined; answer: LoadAnswer }
  | { failed: { kind: keyof Ledger['failed']; cause: string } };

async function request(pool: Pool, path: string, options: LoadOptions): Promise<Outcome> {
  let status: number | undefined;
  try {
    const { statusCode, headers, body } = await pool.request({
      path,
      method: options.method ?? 'GET',
      headers: options.headers ?? null,
      body: options.body ?? null,
    });
    status = statusCode;
    const answer = { status, headers, body: await body.text() };
    const wrong = options.check?.(answer);
    if (wrong !== undefined) return { failed: { kind: 'wrong', cause: wrong } };
    if (options.check === undefined && (status < 200 || status > 299))
      return { failed: { kind: 'status', cause: `${status} ${answer.body.slice(0, 100)}` } };
    return { answer };
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    const cause = `${code ?? ''} ${message}`;
    if (code?.endsWith('_TIMEOUT')) return { failed: { kind: 'timeout', cause } };
    return { failed: { kind: status === undefined ? 'connection' : 'truncated', cause } };
  }
}

/** Waits until the next request is due; requests that could not be sent in time are not made up for. */
function pacer(rate: number | undefined): () => Promise<void> {
  if (rate === undefined) return () => Promise.resolve();
  let due = performance.now();
  return async () => {
    const now = performance.now();
    due = Math.max(due + 1000 / rate, now);
    if (due > now) await new Promise((resolve) => setTimeout(resolve, due - now));
  };
}
