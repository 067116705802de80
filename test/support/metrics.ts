import type { AnalysisPolicy, Bound, Measured, Metric } from '../../src/domain/analysis.ts';
import { type Figures, LATENCY_BOUNDS } from '../../src/proxy/port.ts';

export const UNBOUND: Bound = { max: null, min: null, maxRatio: null };

/** An error rate of at most 2% of at least 100 requests, with what is said of it. */
export function metric(said: Partial<Metric> = {}): Metric {
  const pass = { ...UNBOUND, max: 0.02 };
  return {
    name: 'error-rate',
    source: { kind: 'figures', figure: 'error-rate' },
    pass,
    fail: said.pass ?? pass,
    sample: 100,
    failures: 0,
    errors: 3,
    dryRun: false,
    ...said,
  };
}

/** Three measurements, ten seconds apart. */
export function policy(metrics: Metric[], said: Partial<AnalysisPolicy> = {}): AnalysisPolicy {
  return { interval: 10_000, count: 3, dryRun: false, metrics, ...said };
}

/** Measurements of one metric with these outcomes; each tells its place in the reason. */
export function outcomes(name: string, ...all: Measured['outcome'][]): Measured[] {
  return all.map((outcome, at) => ({
    metric: name,
    outcome,
    value: null,
    stable: null,
    sample: null,
    reason: `${name} ${outcome} ${at + 1}`,
    dryRun: false,
  }));
}

/** Counts one instance's answers as a data plane does. */
export class CountedInstance {
  readonly #instance: string;
  readonly #revision: number;
  #figures: Figures;

  constructor(instance: string, revision: number) {
    this.#instance = instance;
    this.#revision = revision;
    this.#figures = this.#nothing();
  }

  answer(status: number, seconds: number, times = 1): void {
    const { status: counts, latency } = this.#figures;
    counts[`${Math.floor(status / 100)}xx` as '2xx'] += times;
    const bound = LATENCY_BOUNDS.findIndex((upper) => seconds <= upper);
    const at = bound === -1 ? LATENCY_BOUNDS.length : bound;
    latency.buckets[at] = (latency.buckets[at] ?? 0) + times;
    latency.sum += seconds * times;
  }

  break(times = 1): void {
    this.#figures.broken += times;
  }

  /** As when the data plane is upgraded. */
  restart(): void {
    this.#figures = this.#nothing();
  }

  get figures(): Figures {
    return structuredClone(this.#figures);
  }

  #nothing(): Figures {
    return {
      instance: this.#instance,
      revision: this.#revision,
      status: { '1xx': 0, '2xx': 0, '3xx': 0, '4xx': 0, '5xx': 0 },
      broken: 0,
      latency: { sum: 0, buckets: new Array<number>(LATENCY_BOUNDS.length + 1).fill(0) },
      retries: 0,
      ejections: 0,
    };
  }
}
