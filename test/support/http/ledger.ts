import { createHistogram, performance } from 'node:perf_hooks';

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
    /** an answer that is not what was asked for */
    wrong: number;
    timeout: number;
  };
  /** the first failures, for people: at most 20 */
  failures: { at: string; kind: Failure['kind']; cause: string }[];
  /** right answers by the revision that their x-unideploy-revision header names */
  revisions: Record<string, number>;
  /** of right answers, in milliseconds */
  latency: { p50: number; p99: number; max: number };
  /** from the start to the stop, or to now */
  seconds: number;
}

export interface Failure {
  kind: keyof Ledger['failed'];
  cause: string;
}

/** Where the clients of one load write down what became of their requests. */
export class Books {
  readonly #started = performance.now();
  readonly #microseconds = createHistogram();
  readonly #ledger: Ledger = {
    sent: 0,
    ok: 0,
    failed: { connection: 0, truncated: 0, status: 0, wrong: 0, timeout: 0 },
    failures: [],
    revisions: {},
    latency: { p50: 0, p99: 0, max: 0 },
    seconds: 0,
  };

  sent(): void {
    this.#ledger.sent++;
  }

  /** `begun`: of the request, by the clock of `performance`. */
  ok(begun: number, revision: unknown): void {
    this.#ledger.ok++;
    this.#microseconds.record(Math.max(1, Math.round((performance.now() - begun) * 1000)));
    if (typeof revision !== 'string') return;
    this.#ledger.revisions[revision] = (this.#ledger.revisions[revision] ?? 0) + 1;
  }

  failed({ kind, cause }: Failure): void {
    const { failed, failures } = this.#ledger;
    failed[kind]++;
    if (failures.length < 20) failures.push({ at: new Date().toISOString(), kind, cause });
  }

  /** The ledger as it stands. */
  get ledger(): Ledger {
    if (this.#ledger.ok > 0)
      this.#ledger.latency = {
        p50: this.#microseconds.percentile(50) / 1000,
        p99: this.#microseconds.percentile(99) / 1000,
        max: this.#microseconds.max / 1000,
      };
    this.#ledger.seconds = (performance.now() - this.#started) / 1000;
    return this.#ledger;
  }
}

/** The number of failed requests of a ledger. */
export function failedOf({ failed }: Ledger): number {
  return Object.values(failed).reduce((sum, count) => sum + count, 0);
}
