import { z } from 'zod';
import { FIGURES } from '../domain/analysis.ts';
import { choice, command, duration, integer, name, pattern } from './scalars.ts';

const map = { error: 'expected a map of keys' };
const yesOrNo = z.boolean({ error: 'expected true or false' });

const BOUND = 'expected a number, a percentage such as 2% or a duration such as 250ms';

/** A value and how it was written: shares of 1 for percentages, seconds for durations. */
export interface WrittenBound {
  value: number;
  unit: 'number' | 'percentage' | 'duration';
}

const bound = z.union(
  [
    z.number({ error: BOUND }).transform((value): WrittenBound => ({ value, unit: 'number' })),
    pattern(/^\d{1,6}(\.\d{1,6})?%$/, BOUND).transform(
      (text): WrittenBound => ({
        value: Number((Number.parseFloat(text) / 100).toFixed(8)),
        unit: 'percentage',
      }),
    ),
    duration.transform((time): WrittenBound => ({ value: time / 1000, unit: 'duration' })),
  ],
  { error: BOUND },
);

const RATIO = 'expected a number above 0 such as 1.5';
const ratio = z.number({ error: RATIO }).positive({ error: RATIO });

const fail = z
  .strictObject(
    {
      max: bound.optional().describe('above it is a failure'),
      min: bound.optional().describe('below it is a failure'),
      maxRatio: ratio.optional().describe("above so many times the stable revision's value is a failure"),
    },
    map,
  )
  .describe(
    'what is a failure, where that is not all that is no success; between the two a measurement is inconclusive',
  );

const URL_TEXT = 'expected a URL that starts with http:// or https://, without user and password';
const url = pattern(/^https?:\/\/[!-~]+$/, URL_TEXT).refine(
  (text) => URL.canParse(text) && new URL(text).username === '' && new URL(text).password === '',
  { error: URL_TEXT },
);

const headers = z
  .record(
    pattern(/^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}$/, 'expected the name of a header'),
    pattern(/^[ -~]{0,4096}$/, 'expected a text of one line'),
    map,
  )
  .prefault({})
  .describe(
    "sent along; $NAME in braces is read from the controller's environment each time and never written down",
  );

const prometheus = z
  .strictObject(
    {
      url: url.describe('address of the server, before /api/v1'),
      query: pattern(/\S/, 'expected a PromQL query').describe(
        'instant query with one result; {{service}}, {{revision}} and {{stable}} are filled in',
      ),
      headers,
    },
    map,
  )
  .describe('a query to a Prometheus server');

const http = z
  .union([url, z.strictObject({ url: url.describe('what is asked, with GET'), headers }, map)], {
    error: 'expected a URL, or a map of url and headers',
  })
  .transform((value) => (typeof value === 'string' ? { url: value, headers: {} } : value))
  .describe('a URL that is asked for its judgement; {{service}}, {{revision}} and {{stable}} are filled in');

const metric = z.strictObject(
  {
    name: name(40).optional().describe('name of the metric, unique; that of its figure if left out'),
    figure: choice(...FIGURES)
      .optional()
      .describe('what the data plane has counted of both revisions since the analysis began'),
    prometheus: prometheus.optional(),
    command: command
      .optional()
      .describe("shell command run in this file's folder: 0 is a success, 1 a failure, 2 inconclusive"),
    http: http.optional(),
    timeout: duration
      .prefault('10s')
      .describe('time one measurement by prometheus, command or http may take'),
    max: bound.optional().describe('up to it is a success'),
    min: bound.optional().describe('from it on is a success'),
    maxRatio: ratio.optional().describe("up to so many times the stable revision's value is a success"),
    fail: fail.optional(),
    sample: integer(0, 1_000_000_000)
      .optional()
      .describe('requests of the new revision below which a figure says nothing; 100 if left out'),
    failures: integer(0, 1000).prefault(0).describe('failures that are put up with'),
    errors: integer(0, 1000)
      .prefault(3)
      .describe('errors in a row that are put up with; each is measured again'),
    dryRun: yesOrNo.prefault(false).describe('its outcomes are told, and change nothing'),
  },
  map,
);

/** The part of `rollout` that says how a new revision is judged by what is measured. */
export const analysisSchema = z
  .strictObject(
    {
      interval: duration.prefault('10s').describe('time before each measurement'),
      count: integer(1, 1000).prefault(3).describe('measurements of each metric that make an analysis'),
      dryRun: yesOrNo.prefault(false).describe('outcomes are told, and change nothing'),
      metrics: z
        .array(metric, { error: 'expected a list of metrics' })
        .min(1, { error: 'expected at least one metric' })
        .max(50, { error: 'expected at most 50 metrics' })
        .describe('what is measured; each has exactly one of figure, prometheus, command and http'),
    },
    map,
  )
  .describe('how the new revision is judged while it has a share of the traffic; left out: it is not');

export type AnalysisDeclaration = z.output<typeof analysisSchema>;
