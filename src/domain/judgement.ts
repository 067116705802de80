import type { Bound, Figure, Measured, Measurement, Metric, Outcome } from './analysis.ts';
import { grouped, inWords } from './figure-words.ts';

/** What one measurement says of the new revision. What is not known is never a success. */
export function judge(metric: Metric, measurement: Measurement): Measured {
  const { value, stable, sample, said } = measurement;
  const { outcome, because } = outcomeOf(metric, measurement);
  const reason = `${metric.name} ${said}${because === '' ? '' : `; ${because}`}`;
  return { metric: metric.name, outcome, value, stable, sample, reason, dryRun: metric.dryRun };
}

/** A metric that could not be measured. */
export function unmeasured(metric: Metric, error: string): Measured {
  const reason = `${metric.name} could not be measured: ${error}`;
  const nothing = { value: null, stable: null, sample: null };
  return { metric: metric.name, outcome: 'error', ...nothing, reason, dryRun: metric.dryRun };
}

/** The metric where no revision ran before: what it has is judged by itself alone. */
export function withoutComparison(metric: Metric): Metric {
  const alone = (bound: Bound): Bound => ({ ...bound, maxRatio: null });
  return { ...metric, pass: alone(metric.pass), fail: alone(metric.fail) };
}

interface Judgement {
  outcome: Exclude<Outcome, 'error'>;
  /** empty: what the source said says it all */
  because: string;
}

function outcomeOf(metric: Metric, { value, stable, sample, verdict }: Measurement): Judgement {
  if (verdict === 'failure' || verdict === 'inconclusive') return { outcome: verdict, because: '' };
  if (sample !== null && sample < metric.sample)
    return { outcome: 'inconclusive', because: `${grouped(metric.sample)} are needed` };
  if (verdict === 'success' && isBoundless(metric)) return { outcome: 'success', because: '' };
  if (value === null || !Number.isFinite(value))
    return { outcome: 'inconclusive', because: 'there is no value' };

  const figure = metric.source.kind === 'figures' ? metric.source.figure : null;
  const failed = checks(metric.fail, figure, value, stable).filter(({ holds }) => holds === false);
  if (failed.length > 0) return { outcome: 'failure', because: words(failed) };
  const wanted = checks(metric.pass, figure, value, stable);
  const missed = wanted.filter(({ holds }) => holds !== true);
  return missed.length > 0
    ? { outcome: 'inconclusive', because: words(missed) }
    : { outcome: 'success', because: words(wanted) };
}

function isBoundless({ pass, fail }: Metric): boolean {
  return [pass, fail].every(({ max, min, maxRatio }) => max === null && min === null && maxRatio === null);
}

interface Check {
  /** null: there is nothing to compare with */
  holds: boolean | null;
  words: string;
}

function checks(bound: Bound, figure: Figure | null, value: number, stable: number | null): Check[] {
  const { max, min, maxRatio } = bound;
  const all: Check[] = [];
  if (max !== null) all.push({ holds: value <= max, words: `at most ${inWords(figure, max)}` });
  if (min !== null) all.push({ holds: value >= min, words: `at least ${inWords(figure, min)}` });
  if (maxRatio !== null)
    all.push(
      stable === null || !Number.isFinite(stable)
        ? { holds: null, words: 'there is nothing of the stable revision to compare with' }
        : { holds: value <= stable * maxRatio, words: `at most ${maxRatio} times stable` },
    );
  return all;
}

function words(all: readonly Check[]): string {
  return all.map((check) => check.words).join(' and ');
}
