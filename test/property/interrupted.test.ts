import fc from 'fast-check';
import { describe, it } from 'vitest';
import { playToTheEnd } from '../support/rollouts/end.ts';
import { interrupted } from '../support/rollouts/scenes.ts';

const RUNS = Number(process.env.UNIDEPLOY_PROPERTY_RUNS ?? 2500);

describe('a rollout with any strategy, whoever comes between', () => {
  it('ends on one revision everywhere, or says that it failed, whatever fails besides', async () => {
    await fc.assert(fc.asyncProperty(interrupted, playToTheEnd), { numRuns: RUNS });
  });
});
