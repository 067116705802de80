import fc from 'fast-check';
import { describe, it } from 'vitest';
import { playToTheEnd } from '../support/rollouts/end.ts';
import { troubled } from '../support/rollouts/scenes.ts';

const RUNS = Number(process.env.UNIDEPLOY_PROPERTY_RUNS ?? 2500);

describe('a rollout with any strategy, whatever fails on the way', () => {
  it('ends on one revision everywhere, or says that it failed', async () => {
    await fc.assert(fc.asyncProperty(troubled, playToTheEnd), { numRuns: RUNS });
  });
});
