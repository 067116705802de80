import { z } from 'zod';
import { CAUSES, type SupervisionPolicy, TREATMENTS } from '../domain/supervision.ts';

/** How instances are watched and treated, checked where it comes in. */

const milliseconds = z.int().min(0).max(86_400_000);

export const supervisionPolicy: z.ZodType<SupervisionPolicy> = z.strictObject({
  enabled: z.boolean(),
  treatments: z.partialRecord(z.enum(CAUSES), z.enum(TREATMENTS)),
  errors: z.number().min(1).max(100).nullable(),
  memory: z.strictObject({ floor: z.number().min(0).max(90), horizon: milliseconds }).nullable(),
  limits: z.strictObject({
    repairs: z.int().min(1).max(1000),
    window: milliseconds.min(1000),
    backoff: milliseconds,
  }),
  dump: z.int().min(0).max(1_048_576),
  console: z.array(z.string().min(1).max(200)).max(50),
});
