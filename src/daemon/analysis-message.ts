import { z } from 'zod';
import { type AnalysisPolicy, FIGURES } from '../domain/analysis.ts';

const milliseconds = z.int().min(1).max(86_400_000);
const limit = z.int().min(0).max(1000);

const bound = z.strictObject({
  max: z.number().nullable(),
  min: z.number().nullable(),
  maxRatio: z.number().positive().nullable(),
});

const address = {
  url: z.string().regex(/^https?:\/\//, 'expected a URL'),
  headers: z.record(z.string().min(1).max(100), z.string().max(4096)),
  timeout: milliseconds,
};

const source = z.discriminatedUnion('kind', [
  z.strictObject({ kind: z.literal('figures'), figure: z.enum(FIGURES) }),
  z.strictObject({ kind: z.literal('prometheus'), query: z.string().min(1).max(20_000), ...address }),
  z.strictObject({
    kind: z.literal('command'),
    command: z.string().min(1).max(20_000),
    folder: z.string().startsWith('/').max(4096),
    timeout: milliseconds,
  }),
  z.strictObject({ kind: z.literal('http'), ...address }),
]);

const metric = z.strictObject({
  name: z.string().min(1).max(100),
  source,
  pass: bound,
  fail: bound,
  sample: z.int().min(0).max(1_000_000_000),
  failures: limit,
  errors: limit,
  dryRun: z.boolean(),
});

/** An analysis as it comes over the API. */
export const analysisPolicy = z.strictObject({
  interval: milliseconds,
  count: z.int().min(1).max(1000),
  dryRun: z.boolean(),
  metrics: z
    .array(metric)
    .min(1)
    .max(50)
    .refine((all) => new Set(all.map(({ name }) => name)).size === all.length, 'two metrics have one name'),
}) satisfies z.ZodType<AnalysisPolicy>;
