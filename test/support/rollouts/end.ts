import { expect } from 'vitest';
import { lettersOf, play, revisionsOf } from './play.ts';
import type { Scene } from './scenes.ts';
import { watch } from './watch.ts';

/** Plays a scene that has to end: on one revision everywhere, and nothing besides it but what is kept warm, or failed with a code. */
export async function playToTheEnd(scene: Scene): Promise<void> {
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
  const change = rollout.id === 3 ? scene.third.change : scene.change;
  const keepsWarm =
    change === 'image' &&
    rollout.state === 'succeeded' &&
    scene.policy.warm > 0 &&
    ['blue-green', 'canary'].includes(rollout.strategy);
  if (!keepsWarm) expect(machines).toHaveLength(goal.replicas);
}
