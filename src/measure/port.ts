import type { Measurement, MetricSource } from '../domain/analysis.ts';

/** Whose figures are wanted. */
export interface Subject {
  service: string;
  rollout: number;
  /** the revision that is judged, and the one that it is compared with; null: nothing ran before */
  revision: number;
  stable: number | null;
}

/** Where figures come from. One is opened for each metric of each analysis, and knows what was so when it began. */
export interface Measures {
  /** Rejects when the source cannot be read. */
  open(source: MetricSource, subject: Subject): Promise<Gauge>;
}

export interface Gauge {
  /** Rejects when the source cannot be read, does not answer in time, or the signal says so. */
  measure(signal: AbortSignal): Promise<Measurement>;
}
