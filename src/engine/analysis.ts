import type { AnalysisPolicy, Conclusion, Measured, Metric } from '../domain/analysis.ts';
import type { Clock } from '../domain/clock.ts';
import { conclude, due } from '../domain/conclusion.ts';
import { judge, unmeasured, withoutComparison } from '../domain/judgement.ts';
import type { Gauge, Measures, Subject } from '../measure/port.ts';

export interface AnalysisParts {
  measures: Measures;
  clock: Clock;
}

const STOPPED: Conclusion = { outcome: 'inconclusive', reason: 'the analysis was stopped' };

/**
 * Measures all metrics together, the first time after one interval, until it is known what they come to. What was counted
 * before it began does not count. Never rejects: what cannot be measured is an outcome too. `told` hears of each
 * measurement before it is concluded from. Once the signal says so it ends at once, inconclusive.
 */
export async function analyse(
  parts: AnalysisParts,
  policy: AnalysisPolicy,
  subject: Subject,
  told: (measured: Measured) => void,
  signal: AbortSignal,
): Promise<Conclusion> {
  const stop = stopped(signal);
  try {
    return await Promise.race([stop.promise, run(parts, policy, subject, told, signal)]);
  } finally {
    stop.forget();
  }
}

async function run(
  { measures, clock }: AnalysisParts,
  declared: AnalysisPolicy,
  subject: Subject,
  told: (measured: Measured) => void,
  signal: AbortSignal,
): Promise<Conclusion> {
  const metrics = subject.stable === null ? declared.metrics.map(withoutComparison) : declared.metrics;
  const policy = { ...declared, metrics };
  const meters = new Map(metrics.map((metric) => [metric, new Meter(measures, metric, subject)]));
  const measured: Measured[] = [];
  let conclusion: Conclusion | null = null;
  await Promise.all([...meters.values()].map((meter) => meter.open()));
  while (!signal.aborted) {
    conclusion = conclude(policy, measured);
    if (conclusion) return conclusion;
    await clock.sleep(policy.interval);
    if (signal.aborted) break;
    const round = due(policy, measured).map((metric) => meters.get(metric)?.measure(signal));
    for (const one of await Promise.all(round)) {
      if (!one || signal.aborted) continue;
      measured.push(one);
      told(one);
    }
  }
  return STOPPED;
}

/** A metric with its gauge, which is opened again if that has failed. */
class Meter {
  readonly #measures: Measures;
  readonly #metric: Metric;
  readonly #subject: Subject;
  #gauge: Gauge | null = null;

  constructor(measures: Measures, metric: Metric, subject: Subject) {
    this.#measures = measures;
    this.#metric = metric;
    this.#subject = subject;
  }

  async open(): Promise<void> {
    this.#gauge = await this.#measures.open(this.#metric.source, this.#subject).catch(() => null);
  }

  async measure(signal: AbortSignal): Promise<Measured> {
    try {
      this.#gauge ??= await this.#measures.open(this.#metric.source, this.#subject);
      return judge(this.#metric, await this.#gauge.measure(signal));
    } catch (error) {
      return unmeasured(this.#metric, error instanceof Error ? error.message : String(error));
    }
  }
}

function stopped(signal: AbortSignal): { promise: Promise<Conclusion>; forget: () => void } {
  let forget = () => {};
  const promise = new Promise<Conclusion>((resolve) => {
    const stop = () => resolve(STOPPED);
    if (signal.aborted) stop();
    signal.addEventListener('abort', stop);
    forget = () => signal.removeEventListener('abort', stop);
  });
  return { promise, forget };
}
