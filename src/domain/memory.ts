/** How much memory a guest has left, by its own word. Bytes; times in epoch milliseconds. */
export interface Sample {
  available: number;
  total: number;
  /** when the guest said so */
  at: number;
}

/** When a guest counts as starved although it answers. */
export interface MemoryPolicy {
  /** per cent of its memory that have to be available */
  floor: number;
  /** milliseconds: it is switched out when its memory falls so fast that it would be under the floor within this time */
  horizon: number;
}

/** Samples that a judgement needs: fewer show a burst, not a trend. */
const NEEDED = 8;
/** Samples that are kept: a trend is one of the last moments, not of the guest's life. */
const KEPT = 20;
/** A fall by less than this share of the memory is none. */
const LEAST_FALL = 0.04;

/** The samples after one more; one that says nothing new is left out. */
export function remember(samples: readonly Sample[], sample: Sample | null): readonly Sample[] {
  const last = samples.at(-1);
  return !sample || (last && sample.at <= last.at) ? samples : [...samples, sample].slice(-KEPT);
}

/**
 * Why a guest is running out of memory, in words that follow its name; null: it is not, or too little is known. A guest that
 * was under the floor from the first is as its makers want it; one whose fall has slowed down has taken what it needed.
 */
export function shortage(samples: readonly Sample[], { floor, horizon }: MemoryPolicy): string | null {
  const [first] = samples;
  const last = samples.at(-1);
  if (!first || !last || samples.length < NEEDED) return null;
  const least = (last.total * floor) / 100;
  const most = Math.max(...samples.map(({ available }) => available));
  if (most - last.available < last.total * LEAST_FALL || most < 2 * least) return null;
  if (last.available <= least && isUnder(samples, least))
    return `has ${mebibytes(last.available)} of ${mebibytes(last.total)} memory left`;
  const fall = Math.min(rate(samples), rate(samples.slice(-Math.ceil(samples.length / 2))));
  const left = fall > 0 ? (last.available - least) / fall : Number.POSITIVE_INFINITY;
  if (left > horizon) return null;
  const seconds = Math.max(1, Math.round(left / 1000));
  return `is losing ${mebibytes(fall * 1000)} of memory a second, has ${mebibytes(last.available)} left, and would run out in ${seconds} s`;
}

/** Whether the guest has gone silent: a kernel that does not tell of its memory any more hangs, too. */
export function isStale(sample: Sample | null, now: number, after: number): boolean {
  return sample !== null && now - sample.at > after;
}

/** For longer than a moment. */
function isUnder(samples: readonly Sample[], least: number): boolean {
  return samples.slice(-3).every(({ available }) => available <= least);
}

/** Bytes lost a millisecond, by least squares: one odd sample changes little. Negative: it grows. */
function rate(samples: readonly Sample[]): number {
  const mean = (values: number[]) => values.reduce((sum, value) => sum + value, 0) / values.length;
  const at = mean(samples.map((sample) => sample.at));
  const available = mean(samples.map((sample) => sample.available));
  const spread = samples.reduce((sum, sample) => sum + (sample.at - at) ** 2, 0);
  const common = samples.reduce((sum, s) => sum + (s.at - at) * (s.available - available), 0);
  return spread === 0 ? 0 : -common / spread;
}

function mebibytes(bytes: number): string {
  const amount = bytes / 2 ** 20;
  return `${amount < 10 ? amount.toFixed(1) : Math.round(amount)} MiB`;
}
