import type { Figure } from '../domain/analysis.ts';
import { nameOf } from './analysis.ts';
import type { AnalysisDeclaration, WrittenBound } from './analysis-schema.ts';
import type { KeyPath } from './positions.ts';
import { keyName } from './problems.ts';
import type { Breach } from './rules.ts';

type Metric = AnalysisDeclaration['metrics'][number];

const SOURCES = ['figure', 'prometheus', 'command', 'http'] as const;
const BOUNDS = ['max', 'min', 'maxRatio'] as const;

/** What no single key of `rollout.analysis` can be blamed for. */
export function analysisBreaches({ metrics }: AnalysisDeclaration): Breach[] {
  return metrics.flatMap((metric, index) => {
    const path: KeyPath = ['rollout', 'analysis', 'metrics', index];
    const earlier = metrics.findIndex((other) => nameOf(other) === nameOf(metric));
    const given = SOURCES.filter((key) => metric[key] !== undefined);
    const [first, second] = given;
    if (first === undefined)
      return [{ path, message: `${keyName(path)} measures nothing, expected one of ${SOURCES.join(', ')}` }];
    if (second !== undefined)
      return [
        {
          path: [...path, second],
          message: `${keyName(path)} has both ${first} and ${second}, expected one of ${SOURCES.join(', ')}`,
        },
      ];
    if (nameOf(metric) === '') return [{ path, message: `${keyName(path)}.name is missing, expected one` }];
    if (earlier !== index)
      return [
        {
          path: [...path, metric.name === undefined ? 'figure' : 'name'],
          message: `${keyName(path)} has the name "${nameOf(metric)}" of metrics[${earlier}], expected another`,
        },
      ];
    return [...boundBreaches(metric, path), ...unitBreaches(metric, path), ...sourceBreaches(metric, path)];
  });
}

function boundBreaches({ command, http, fail = {}, ...pass }: Metric, path: KeyPath): Breach[] {
  const found: Breach[] = [];
  if (!command && !http && BOUNDS.every((key) => pass[key] === undefined))
    found.push({ path, message: `${keyName(path)} has no bound, expected max, min or maxRatio` });
  const outside = {
    max: (fail.max?.value ?? Infinity) >= (pass.max?.value ?? Infinity),
    min: (fail.min?.value ?? -Infinity) <= (pass.min?.value ?? -Infinity),
    maxRatio: (fail.maxRatio ?? Infinity) >= (pass.maxRatio ?? Infinity),
  };
  for (const key of BOUNDS)
    if (!outside[key])
      found.push({
        path: [...path, 'fail', key],
        message: `${keyName(path)}.fail.${key} is stricter than ${key}, expected ${key} to be within it`,
      });
  return found;
}

const EXPECTED = {
  number: 'a number',
  percentage: 'a percentage such as 2%',
  duration: 'a duration such as 250ms',
} satisfies Record<WrittenBound['unit'], string>;

/** 2 for 2%, or 250 for 250ms, would let everything pass. */
function unitBreaches({ figure, fail = {}, ...pass }: Metric, path: KeyPath): Breach[] {
  if (figure === undefined) return [];
  const unit = unitOf(figure);
  const bounds: [KeyPath, WrittenBound | undefined][] = [
    [['max'], pass.max],
    [['min'], pass.min],
    [['fail', 'max'], fail.max],
    [['fail', 'min'], fail.min],
  ];
  return bounds
    .filter(([, bound]) => bound !== undefined && bound.unit !== unit)
    .map(([key]) => ({
      path: [...path, ...key],
      message: `${keyName([...path, ...key])} is no bound of ${figure}, expected ${EXPECTED[unit]}`,
    }));
}

function unitOf(figure: Figure): WrittenBound['unit'] {
  if (figure === 'requests') return 'number';
  return figure === 'error-rate' ? 'percentage' : 'duration';
}

/** What only some sources can be told. */
function sourceBreaches(metric: Metric, path: KeyPath): Breach[] {
  const found: Breach[] = [];
  if (metric.sample !== undefined && metric.figure === undefined)
    found.push({
      path: [...path, 'sample'],
      message: `${keyName(path)}.sample is given without a figure, expected it only with one`,
    });
  const ratios: [KeyPath, number | undefined][] = [
    [['maxRatio'], metric.maxRatio],
    [['fail', 'maxRatio'], metric.fail?.maxRatio],
  ];
  for (const [key, ratio] of ratios)
    if (ratio !== undefined && !isCompared(metric))
      found.push({
        path: [...path, ...key],
        message: `${keyName([...path, ...key])} compares with nothing, expected it only with a figure, or with a query that has {{revision}} and not {{stable}}`,
      });
  return found;
}

/** A query is made of the stable revision too where it asks about one revision. */
function isCompared({ figure, prometheus }: Metric): boolean {
  if (figure !== undefined) return true;
  const query = prometheus?.query ?? '';
  return query.includes('{{revision}}') && !query.includes('{{stable}}');
}
