import type { AnalysisPolicy, Conclusion, Measured, Metric } from './analysis.ts';

/**
 * What all measurements so far come to; null: it goes on. A failure or error too many concludes at once, as in Argo
 * Rollouts; everything else is known when each metric has had its measurements.
 */
export function conclude(policy: AnalysisPolicy, measured: readonly Measured[]): Conclusion | null {
  const goesOn = due(policy, measured).length > 0;
  const conclusion = real(policy, measured, goesOn);
  if (!policy.dryRun) return conclusion;
  return conclusion && !goesOn
    ? { outcome: 'passed', reason: `dry run, would have ${WOULD[conclusion.outcome]}: ${conclusion.reason}` }
    : null;
}

/** The metrics that are to be measured again. An error is no measurement: it is made up for, but not in a dry run. */
export function due(policy: AnalysisPolicy, measured: readonly Measured[]): Metric[] {
  return policy.metrics.filter((metric) => {
    const own = of(metric, measured);
    return policy.dryRun || metric.dryRun
      ? own.length < policy.count
      : settled(metric, policy.count, own) === null;
  });
}

const WOULD = { passed: 'passed', failed: 'failed', inconclusive: 'been inconclusive' };

function real(policy: AnalysisPolicy, measured: readonly Measured[], goesOn: boolean): Conclusion | null {
  const counting = policy.metrics.filter(({ dryRun }) => !dryRun);
  const conclusions = counting.map(
    (metric) => settled(metric, policy.count, of(metric, measured)) ?? unsettled(metric),
  );
  const failed = conclusions.filter(({ outcome }) => outcome === 'failed');
  if (failed.length > 0) return { outcome: 'failed', reason: inOne(failed) };
  if (goesOn) return null;
  const open = conclusions.filter(({ outcome }) => outcome === 'inconclusive');
  if (open.length > 0) return { outcome: 'inconclusive', reason: inOne(open) };
  return { outcome: 'passed', reason: inOne(conclusions) || 'every metric is a dry run' };
}

/** What a metric has come to; null: not yet known. */
function settled(metric: Metric, count: number, own: readonly Measured[]): Conclusion | null {
  const tooMany = own.filter(isFailure)[metric.failures];
  if (tooMany) return { outcome: 'failed', reason: tooMany.reason };
  const erred = own.find((_, last) => {
    const row = own.slice(Math.max(0, last - metric.errors), last + 1);
    return row.length > metric.errors && row.every(isError);
  });
  if (erred) return { outcome: 'failed', reason: `${erred.reason} (${metric.errors + 1} times in a row)` };

  const made = own.filter((one) => !isError(one));
  if (made.length < count) return null;
  const last = made.findLast((one) => !isFailure(one));
  if (!last) return { outcome: 'inconclusive', reason: `${metric.name} had nothing but failures` };
  return { outcome: last.outcome === 'success' ? 'passed' : 'inconclusive', reason: last.reason };
}

function unsettled({ name }: Metric): Conclusion {
  return { outcome: 'inconclusive', reason: `${name} was not measured often enough` };
}

function of({ name }: Metric, measured: readonly Measured[]): Measured[] {
  return measured.filter(({ metric }) => metric === name);
}

function isFailure({ outcome }: Measured): boolean {
  return outcome === 'failure';
}

function isError({ outcome }: Measured): boolean {
  return outcome === 'error';
}

function inOne(conclusions: readonly Conclusion[]): string {
  return conclusions.map(({ reason }) => reason).join(' | ');
}
