import fc from 'fast-check';
import { describe, it } from 'vitest';
import { playToTheEnd } from '../support/rollouts/end.ts';
import { restoring } from '../support/rollouts/scenes.ts';

const RUNS = Number(process.env.UNIDEPLOY_PROPERTY_RUNS ?? 1000);

describe('an instance that is brought back as it was, whatever fails and whoever comes between', () => {
  it('is one of as many as before, or the rollout has gone back, or says that it failed', async () => {
    await fc.assert(fc.asyncProperty(restoring, playToTheEnd), { numRuns: RUNS });
  });
});
