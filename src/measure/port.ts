import type { MetricSource } from '../domain/analysis.ts';

/** Whose figures are wanted. */
export interface Subject {
  service: string;
  rollout: number;
  /** the revision that is judged, and the one that it is compared with; null: nothing ran before */
  revision: number;
  stable: number | null;
}

/** What a source says at one moment. */
export interface Measurement {
  /** null: the source has no figure, and says how it went by `verdict` alone */
  value: number | null;
  stable: number | null;
  sample: number | null;
  /** the source's own judgement (commands, HTTP); null: the bounds decide */
  verdict: 'success' | 'failure' | 'inconclusive' | null;
  /** one line for people */
  said: string;
}

/** Where figures come from. One is opened for each metric of each analysis, and knows what was so when it began. */
export interface Measures {
  open(source: MetricSource, subject: Subject): Promise<Gauge>;
}

export interface Gauge {
  /** Rejects when the source cannot be read. */
  measure(signal: AbortSignal): Promise<Measurement>;
}
