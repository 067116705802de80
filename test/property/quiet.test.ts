import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { lettersOf, play, revisionsOf } from '../support/rollouts/play.ts';
import { interruptions, quiet, type Scene } from '../support/rollouts/scenes.ts';
import { watch } from '../support/rollouts/watch.ts';

const RUNS = Number(process.env.UNIDEPLOY_PROPERTY_RUNS ?? 3000);

/** Somebody is always there to promote it. */
function attended(scene: Scene): Scene {
  return { ...scene, policy: { ...scene.policy, gateTimeout: { after: 5000, action: 'promote' } } };
}

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
