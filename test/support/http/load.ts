import { performance } from 'node:perf_hooks';
import { Pool } from 'undici';
import { Books, type Failure, type Ledger } from './ledger.ts';
import { pacer } from './pace.ts';

export { failedOf, type Ledger } from './ledger.ts';

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
  /** when its request was sent, epoch milliseconds */
  sentAt: number;
  status: number;
  headers: Record<string, string | string[] | undefined>;
  body: string;
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
  const books = new Books();
  const pace = options.rate === undefined ? undefined : pacer(options.rate);
  let stopping = false;

  const send = async (): Promise<void> => {
    const begun = performance.now();
    const outcome = await request(pool, `${pathname}${search}`, options);
    if (outcome.failed === undefined) return books.ok(begun, outcome.answer.headers['x-unideploy-revision']);
    books.failed(outcome.failed);
    // a server that refuses connections would be called many thousand times a second
    if (outcome.failed.kind === 'connection') await new Promise((resolve) => setTimeout(resolve, 5));
  };
  const loop = async (): Promise<void> => {
    while (!stopping) {
      await pace?.();
      if (stopping) return;
      books.sent();
      await send();
    }
  };
  const loops = Promise.all(Array.from({ length: options.connections }, loop));

  return {
    get ledger() {
      return books.ledger;
    },
    async stop() {
      stopping = true;
      await loops;
      await pool.close();
      return books.ledger;
    },
  };
}

type Outcome = { failed?: undefined; answer: LoadAnswer } | { failed: Failure };

async function request(pool: Pool, path: string, options: LoadOptions): Promise<Outcome> {
  let status: number | undefined;
  const sentAt = Date.now();
  try {
    const { statusCode, headers, body } = await pool.request({
      path,
      method: options.method ?? 'GET',
      headers: options.headers ?? null,
      body: options.body ?? null,
    });
    status = statusCode;
    const answer = { sentAt, status, headers, body: await body.text() };
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
