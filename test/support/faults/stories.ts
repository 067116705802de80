import type { RolloutPolicy } from '../../../src/domain/policy.ts';
import { POLICY } from '../revisions.ts';
import type { Scene } from '../rollouts/scenes.ts';

/** How a story ends when nobody disturbs it. */
export type Way = 'forward' | 'back' | 'abort' | 'supersede';

export interface Story {
  name: string;
  way: Way;
  scene: Scene;
}

type Move = Pick<Scene, 'strategy' | 'swap' | 'before'> & { change: 'image' | 'volumes'; copies?: true };

/** Every strategy over what it can change. */
const MOVES: Move[] = [
  { strategy: 'rolling', change: 'image', swap: 'overlap', before: 2 },
  { strategy: 'rolling', change: 'image', swap: 'overlap', before: 2, copies: true },
  { strategy: 'recreate', change: 'image', swap: 'overlap', before: 2 },
  { strategy: 'blue-green', change: 'image', swap: 'overlap', before: 2 },
  { strategy: 'canary', change: 'image', swap: 'overlap', before: 2 },
  { strategy: 'blue-green', change: 'volumes', swap: 'overlap', before: 2 },
  { strategy: 'canary', change: 'volumes', swap: 'overlap', before: 3 },
  { strategy: 'canary', change: 'volumes', swap: 'replace', before: 2 },
  { strategy: 'volume-swap', change: 'volumes', swap: 'overlap', before: 2 },
  { strategy: 'volume-swap', change: 'volumes', swap: 'replace', before: 2 },
  { strategy: 'volume-swap', change: 'volumes', swap: 'replace', before: 1 },
];

const WAYS: Way[] = ['forward', 'back', 'abort', 'supersede'];

/** Short, and with a stop at every kind of gate. */
const policy: RolloutPolicy = {
  ...POLICY,
  bake: 500,
  steps: [{ weight: 50, pause: 300, analysis: false }],
  parallel: 1,
  // longer than anything stands still
  verify: 8_000,
};

/** Quick guests: what a fault does depends on the order of things, not on how long they take. */
const costs = { spawn: 20, boot: 400, attach: 20, detach: 20, stop: 50 };

export const STORIES: Story[] = MOVES.flatMap((move) => WAYS.map((way) => story(move, way)));

function story(move: Move, way: Way): Story {
  const { strategy, change, swap, before, copies = false } = move;
  const scene: Scene = {
    ...move,
    copies,
    after: before,
    policy,
    incidents: new Map(),
    troubles: new Map(way === 'back' && change === 'volumes' ? [[before, 'volume-ignored' as const]] : []),
    said: [],
    interruptions: [],
    third: { change, strategy },
    busy: 100,
    pause: 0,
    costs,
  };
  const over = change === 'volumes' ? `${swap} volumes` : 'images';
  const how = copies ? ' by copies' : '';
  return { name: `${strategy} over ${over} of ${before}${how}, ${way}`, way, scene };
}
