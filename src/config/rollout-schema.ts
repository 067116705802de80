import { z } from 'zod';
import { STRATEGIES } from '../domain/policy.ts';
import { analysisSchema } from './analysis-schema.ts';
import { hooksSchema } from './hooks-schema.ts';
import { choice, delay, delayOr, duration, integer, part, pattern, share } from './scalars.ts';

const map = { error: 'expected a map of keys' };

const strategy = z.union(
  [
    choice('auto', ...STRATEGIES),
    // biome-ignore lint/suspicious/noControlCharactersInRegex: a NUL in a path reaches no system call.
    pattern(/^[./][^\x00]+$/, 'expected a path').transform((file) => ({ file })),
  ],
  { error: `expected auto, ${STRATEGIES.join(', ')}, or the path of a module such as ./my-strategy.mjs` },
);

const step = z.strictObject(
  {
    weight: part.describe('share of the traffic that the new revision gets'),
    pause: delayOr({ manual: null })
      .prefault('0s')
      .describe('time before the next step; manual: until somebody promotes the rollout'),
    analysis: z
      .boolean({ error: 'expected true or false' })
      .prefault(false)
      .describe('the analysis has to succeed before the next step'),
  },
  map,
);

const STEPS = 'expected a list of 1 to 20 steps';

const canary = z
  .strictObject(
    {
      steps: z
        .array(step, { error: STEPS })
        .min(1, { error: STEPS })
        .max(20, { error: STEPS })
        .optional()
        .describe(
          'what a canary goes through before it gets everything; left out: 10% with the analysis, then 50%',
        ),
    },
    map,
  )
  .describe('how the strategy canary goes');

const gateTimeout = z
  .strictObject(
    {
      after: duration.prefault('24h').describe('time a gate waits for somebody'),
      action: choice('rollback', 'promote')
        .prefault('rollback')
        .describe('what becomes of the rollout after that'),
    },
    map,
  )
  .describe('how long a rollout waits for somebody to promote it');

/** `rollout`: how the pool moves to a new revision. */
export const rolloutSchema = z
  .strictObject(
    {
      strategy: strategy
        .prefault('auto')
        .describe(
          'auto: volume-swap where only volumes changed, rolling otherwise; or the path of a module of your own',
        ),
      maxSurge: share().prefault(1).describe('instances above replicas; a percentage is rounded up'),
      maxUnavailable: share().prefault(0).describe('instances below replicas; a percentage is rounded down'),
      parallel: z
        .union([z.literal('auto'), integer(1, 100)], {
          error: 'expected auto, or a whole number from 1 to 100',
        })
        .prefault('auto')
        .describe(
          'guests swapped at once; auto: four at first, and more as long as more get done in the same time, up to 16',
        ),
      batchWait: delay
        .prefault('0s')
        .describe('time between a batch of rolling that serves and the next one'),
      minHealthy: delay
        .prefault('0s')
        .describe('time an instance has to be healthy without a break before it counts'),
      promotion: delayOr({ auto: 0, manual: null })
        .prefault('auto')
        .describe(
          'when blue-green cuts over: auto at once, manual when somebody promotes it, or after so long',
        ),
      canary: canary.prefault({}),
      bake: delay
        .prefault('0s')
        .describe('time after the last shift of traffic in which a failure switches back'),
      warm: delay
        .prefault('0s')
        .describe('time that blue-green and canary keep the old instances, without traffic, after a success'),
      keep: integer(2, 1000)
        .prefault(10)
        .describe(
          'stable revisions whose artifacts are kept, to go back to, the one that is served among them',
        ),
      gateTimeout: gateTimeout.prefault({}),
      hooks: hooksSchema.prefault({}),
      analysis: analysisSchema.optional(),
      drain: duration.prefault('30s').describe('time the last requests of a drained instance may take'),
      stop: duration.prefault('10s').describe('time between asking a guest to power down and ending it'),
      verify: duration
        .prefault('30s')
        .describe('time from the attach of a volume until the guest answers with its revision'),
      progressDeadline: duration
        .optional()
        .describe(
          'time without an action that ends well; left out: a minute more than one action may take, 2m with the other defaults',
        ),
      deadline: duration
        .prefault('30m')
        .describe('time for the whole rollout; what it waits on purpose is not counted'),
    },
    map,
  )
  .describe('how the pool moves to a new revision');
