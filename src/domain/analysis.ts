/** How a new revision is judged while it has a share of the traffic. Times in milliseconds. */
export interface AnalysisPolicy {
  /** between two measurements, and before the first */
  interval: number;
  /** measurements of each metric that make an analysis */
  count: number;
  /** its outcomes are told, and change nothing */
  dryRun: boolean;
  /** each has a name of its own */
  metrics: Metric[];
}

/** One thing that is measured, and what it may be. */
export interface Metric {
  name: string;
  source: MetricSource;
  /** within these it is a success */
  pass: Bound;
  /** beyond these it is a failure; between the two it is inconclusive */
  fail: Bound;
  /** requests of the new revision below which nothing is concluded (figures of the data plane) */
  sample: number;
  /** failures that are put up with; one more fails the analysis */
  failures: number;
  /** errors in a row that are put up with, each measured again; one more fails the analysis */
  errors: number;
  dryRun: boolean;
}

export type MetricSource =
  | { kind: 'figures'; figure: Figure }
  /** `{{service}}`, `{{revision}}` and `{{stable}}` are filled in */
  | ({ kind: 'prometheus'; query: string } & Address)
  /** exit code 0: success, 1: failure, 2: inconclusive, others: error; a number on its last line is the value */
  | { kind: 'command'; command: string /** absolute */; folder: string; timeout: number }
  /** 2xx: success, 4xx: failure, others: error, unless its JSON says an outcome; `{{revision}}` is filled in here too */
  | ({ kind: 'http' } & Address);

/** What is asked over HTTP. */
export interface Address {
  url: string;
  /** may name variables of the controller's environment, `${TOKEN}`, which are read when it is asked and never written down */
  headers: Record<string, string>;
  timeout: number;
}

/** Rates are shares of 1, latencies seconds. */
export const FIGURES = [
  'error-rate',
  'latency-mean',
  'latency-p50',
  'latency-p95',
  'latency-p99',
  'requests',
] as const;
export type Figure = (typeof FIGURES)[number];

/** Null: no such bound. All that are given count. */
export interface Bound {
  max: number | null;
  min: number | null;
  /** how often the stable revision's value it may be */
  maxRatio: number | null;
}

/** What a source says at one moment. */
export interface Measurement {
  /** null: the source has no figure */
  value: number | null;
  stable: number | null;
  sample: number | null;
  /** the source's own judgement (commands, HTTP), which no bound makes better; null: the bounds decide */
  verdict: 'success' | 'failure' | 'inconclusive' | null;
  /** one line for people */
  said: string;
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
