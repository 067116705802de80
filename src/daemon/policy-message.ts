import { z } from 'zod';
import { HOOK_POINTS, type Hook } from '../domain/hooks.ts';
import { type RolloutPolicy, STRATEGIES } from '../domain/policy.ts';
import { analysisPolicy } from './analysis-message.ts';

/** How a pool moves, checked where it comes in. */

const milliseconds = z.int().min(0).max(86_400_000);
const amount = z.union([z.int().min(0).max(500), z.templateLiteral([z.number(), '%'])]);

const hook: z.ZodType<Hook> = z.discriminatedUnion('kind', [
  z.strictObject({
    kind: z.literal('command'),
    command: z.string().min(1).max(100_000),
    folder: z.string().startsWith('/').max(4096),
    timeout: milliseconds,
  }),
  z.strictObject({
    kind: z.literal('http'),
    url: z.string().min(1).max(8192),
    headers: z.record(z.string().max(100), z.string().max(8192)),
    timeout: milliseconds,
  }),
]);

export const rolloutPolicy: z.ZodType<RolloutPolicy> = z.strictObject({
  strategy: z.union([z.enum(['auto', ...STRATEGIES]), z.templateLiteral(['/', z.string().max(4096)])]),
  maxSurge: amount,
  maxUnavailable: amount,
  parallel: z.union([z.literal('auto'), z.int().min(1).max(500)]),
  batchWait: milliseconds,
  minHealthy: milliseconds,
  promotion: milliseconds.nullable(),
  steps: z
    .array(
      z.strictObject({
        weight: z.int().min(1).max(99),
        pause: milliseconds.nullable(),
        analysis: z.boolean(),
      }),
    )
    .max(100),
  bake: milliseconds,
  keep: z.int().min(2).max(1000),
  warm: milliseconds,
  gateTimeout: z.strictObject({ after: milliseconds, action: z.enum(['rollback', 'promote']) }),
  hooks: z.record(z.enum(HOOK_POINTS), z.array(hook).max(100)),
  analysis: analysisPolicy.nullable(),
  drain: milliseconds,
  stop: milliseconds,
  verify: milliseconds,
  progressDeadline: milliseconds,
  deadline: milliseconds,
});
