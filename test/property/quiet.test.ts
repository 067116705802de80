import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { lettersOf, play, revisionsOf } from '../support/rollouts/play.ts';
import { attended, interruptions, quiet } from '../support/rollouts/scenes.ts';
import { watch } from '../support/rollouts/watch.ts';

const RUNS = Number(process.env.UNIDEPLOY_PROPERTY_RUNS ?? 3000);

describe('a rollout with any strategy, when nothing goes wrong', () => {
  it('reaches its goal, also if the controller is killed at any moment', async () => {
    await fc.assert(
      fc.asyncProperty(quiet, interruptions('kill'), async (scene, kills) => {
        const end = await play({ ...attended(scene), interruptions: kills }, watch);
        expect(end.rollout).toMatchObject({ state: 'succeeded' });
        const serve = end.table?.routes.filter(({ weight }) => weight > 0) ?? [];
        const [, second] = revisionsOf(scene);
        expect(serve.map(({ instance }) => end.serves[instance])).toEqual(
          Array(scene.after).fill(second && lettersOf(second)),
        );
      }),
      { numRuns: RUNS },
    );
  });
});
