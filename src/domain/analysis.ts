/** How a new revision is judged while it has a share of the traffic. Times in milliseconds. */
export interface AnalysisPolicy {
  /** between two measurements */
  interval: number;
  /** measurements of each metric that make an analysis */
  count: number;
  /** its outcomes are told, and change nothing */
  dryRun: boolean;
  metrics: Metric[];
}

/** One thing that is measured, and what it may be. */
export interface Metric {
  name: string;
  source: MetricSource;
  /** up to here it is a success; `ratio`: of what the stable revision has at the same time */
  pass: Bound;
  /** beyond here it is a failure; between the two it is inconclusive */
  fail: Bound;
  /** requests of the new revision below which nothing is concluded (figures of the data plane) */
  sample: number;
  /** measurements of that outcome which are put up with */
  failures: number;
  errors: number;
  dryRun: boolean;
}

export type MetricSource =
  | { kind: 'figures'; figure: Figure }
  | { kind: 'prometheus'; url: string; query: string }
  /** exit code 0: success, 1: failure, 2: inconclusive, others: error; a number on its last line is the value */
  | { kind: 'command'; command: string; folder: string; timeout: number }
  | { kind: 'http'; url: string; timeout: number };

export const FIGURES = ['error-rate', 'latency-p50', 'latency-p95', 'latency-p99', 'requests'] as const;
export type Figure = (typeof FIGURES)[number];

/** A bound from above, or from below; null: none. */
export interface Bound {
  max: number | null;
  min: number | null;
  /** compared with the stable revision's value: `value / stable` */
  maxRatio: number | null;
}

export type Outcome = 'success' | 'failure' | 'inconclusive' | 'error';

/** One measurement of one metric, and what it says. */
export interface Measured {
  metric: string;
  outcome: Outcome;
  /** of the new revision, and of the stable one where they are compared; null: not known */
  value: number | null;
  stable: number | null;
  /** requests of the new revision that it is about; null: the source does not say */
  sample: number | null;
  /** one line for people */
  reason: string;
  dryRun: boolean;
}

/** What an analysis has come to. */
export interface Conclusion {
  outcome: 'passed' | 'failed' | 'inconclusive';
  /** one line for people, with the figures */
  reason: string;
}
