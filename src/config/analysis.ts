import type { AnalysisPolicy, Bound, Metric, MetricSource } from '../domain/analysis.ts';
import type { AnalysisDeclaration } from './analysis-schema.ts';

/** Requests of the new revision below which a figure says nothing, unless the config says how many. */
const SAMPLE = 100;

/** What `rollout.analysis` says, for commands that run in `folder`; null where it is left out. */
export function analysisOf(declared: AnalysisDeclaration | undefined, folder: string): AnalysisPolicy | null {
  if (!declared) return null;
  return { ...declared, metrics: declared.metrics.map((metric) => metricOf(metric, folder)) };
}

type MetricDeclaration = AnalysisDeclaration['metrics'][number];

function metricOf(declared: MetricDeclaration, folder: string): Metric {
  const { figure, failures, errors, dryRun } = declared;
  const pass = boundOf(declared);
  return {
    name: nameOf(declared),
    source: sourceOf(declared, folder),
    pass,
    fail: declared.fail ? boundOf(declared.fail) : figure === 'requests' ? { ...pass, min: null } : pass,
    sample: declared.sample ?? (figure === undefined ? 0 : figure === 'requests' ? 1 : SAMPLE),
    failures,
    errors,
    dryRun,
  };
}

/** The name that a metric has, or would have: the rules see to it that there is one. */
export function nameOf({ name, figure }: MetricDeclaration): string {
  return name ?? figure ?? '';
}

function sourceOf(
  { figure, prometheus, command, http, timeout }: MetricDeclaration,
  folder: string,
): MetricSource {
  if (figure !== undefined) return { kind: 'figures', figure };
  if (prometheus) return { kind: 'prometheus', ...prometheus, timeout };
  if (command !== undefined) return { kind: 'command', command, folder, timeout };
  if (http) return { kind: 'http', ...http, timeout };
  throw new TypeError('a metric without a source passed the rules');
}

type WrittenBounds = Pick<MetricDeclaration, 'max' | 'min' | 'maxRatio'>;

function boundOf({ max, min, maxRatio }: WrittenBounds): Bound {
  return { max: max?.value ?? null, min: min?.value ?? null, maxRatio: maxRatio ?? null };
}
