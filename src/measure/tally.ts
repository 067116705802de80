import type { Figure } from '../domain/analysis.ts';
import { type Figures, LATENCY_BOUNDS } from '../proxy/port.ts';

/** What was counted of requests, of one instance or many. */
export interface Tally {
  /** those that ended, one way or the other */
  requests: number;
  /** 5xx, and answers that broke or never began */
  failed: number;
  /** of the answers that went out whole, seconds */
  latency: { sum: number; buckets: number[] };
}

export const NOTHING: Tally = { requests: 0, failed: 0, latency: { sum: 0, buckets: [] } };

export function tallyOf({ status, broken, latency }: Figures): Tally {
  const answers = Object.values(status).reduce((sum, count) => sum + count);
  return { requests: answers + broken, failed: status['5xx'] + broken, latency };
}

export function plus(a: Tally, b: Tally): Tally {
  return combined(a, b, (x, y) => x + y);
}

/** What was counted between two readings. Counters that have gone down began again at 0 between them. */
export function grown(before: Tally, now: Tally): Tally {
  const since = combined(now, before, (x, y) => x - y);
  const { requests, failed, latency } = since;
  return [requests, failed, ...latency.buckets].some((count) => count < 0) ? now : since;
}

/** The figure of these requests, and how many of them it is about. Null: there were none. */
export function figureOf(figure: Figure, { requests, failed, latency }: Tally): Reading {
  const answers = latency.buckets.reduce((sum, count) => sum + count, 0);
  switch (figure) {
    case 'requests':
      return { value: requests, sample: requests };
    case 'error-rate':
      return { value: requests === 0 ? null : failed / requests, sample: requests };
    case 'latency-mean':
      return { value: answers === 0 ? null : latency.sum / answers, sample: answers };
    case 'latency-p50':
      return { value: quantile(0.5, latency.buckets), sample: answers };
    case 'latency-p95':
      return { value: quantile(0.95, latency.buckets), sample: answers };
    case 'latency-p99':
      return { value: quantile(0.99, latency.buckets), sample: answers };
  }
}

export interface Reading {
  value: number | null;
  sample: number;
}

/** As Prometheus' `histogram_quantile`: linear within a bucket; beyond the last bound, that bound. Seconds. */
export function quantile(q: number, buckets: readonly number[]): number | null {
  const total = buckets.reduce((sum, count) => sum + count, 0);
  if (total === 0) return null;
  const rank = q * total;
  let below = 0;
  for (const [at, upper] of LATENCY_BOUNDS.entries()) {
    const count = buckets[at] ?? 0;
    if (count > 0 && below + count >= rank) {
      const lower = LATENCY_BOUNDS[at - 1] ?? 0;
      return lower + ((upper - lower) * (rank - below)) / count;
    }
    below += count;
  }
  return LATENCY_BOUNDS[LATENCY_BOUNDS.length - 1] ?? null;
}

function combined(a: Tally, b: Tally, of: (x: number, y: number) => number): Tally {
  const length = Math.max(a.latency.buckets.length, b.latency.buckets.length);
  return {
    requests: of(a.requests, b.requests),
    failed: of(a.failed, b.failed),
    latency: {
      sum: of(a.latency.sum, b.latency.sum),
      buckets: Array.from({ length }, (_, at) => of(a.latency.buckets[at] ?? 0, b.latency.buckets[at] ?? 0)),
    },
  };
}
