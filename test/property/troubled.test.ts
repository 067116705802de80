import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { lettersOf, play, revisionsOf } from '../support/rollouts/play.ts';
import { troubled } from '../support/rollouts/scenes.ts';
import { watch } from '../support/rollouts/watch.ts';

const RUNS = Number(process.env.UNIDEPLOY_PROPERTY_RUNS ?? 5000);

describe('a rollout with any strategy, whatever happens on the way', () => {
  it('always ends, on one revision everywhere, or says that it failed', async () => {
    await fc.assert(
      fc.asyncProperty(troubled, async (scene) => {
        const { rollout, table, serves, machines } = await play(scene, watch);
        expect(rollout.state).not.toBe('open');
        if (rollout.state === 'failed') {
          expect(rollout.reason?.code).toMatch(/^UD_/);
          return;
        }
        const goal = rollout.state === 'succeeded' ? rollout.to : rollout.from;
        const wanted = revisionsOf(scene).find(({ number }) => number === goal.revision);
        const serving = table?.routes.filter(({ weight }) => weight > 0) ?? [];
        expect(serving.map(({ instance }) => serves[instance])).toEqual(
          Array(goal.replicas).fill(wanted && lettersOf(wanted)),
        );
        const keepsWarm =
          rollout.state === 'succeeded' &&
          scene.policy.warm > 0 &&
          ['blue-green', 'canary'].includes(rollout.strategy);
        if (!keepsWarm) expect(machines).toHaveLength(goal.replicas);
      }),
      { numRuns: RUNS },
    );
  });
});
