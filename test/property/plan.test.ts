import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { simulate } from '../../src/daemon/plan.ts';
import { simulation } from '../../src/daemon/simulation.ts';
import { strategyOf } from '../../src/daemon/strategy-of.ts';
import type { Action } from '../../src/domain/action.ts';
import type { JournalEntry } from '../../src/domain/journal.ts';
import { begin, opening, play, revisionsOf } from '../support/rollouts/play.ts';
import { attended, quiet, type Scene } from '../support/rollouts/scenes.ts';

const RUNS = Number(process.env.UNIDEPLOY_PROPERTY_RUNS ?? 1000);

/** What is done, in its order. */
function actions(entries: JournalEntry[]): Action[] {
  return entries.flatMap((entry) => (entry.event === 'action-started' ? [entry.action] : []));
}

/** How the traffic moves, in its order. */
function shifts(entries: JournalEntry[]): Action[] {
  return actions(entries).filter(({ kind }) => kind === 'shift');
}

/** What is done to each instance, in its order. The weights on the way depend on who is ready first. */
function byInstance(entries: JournalEntry[]): Record<string, Action['kind'][]> {
  const done: Record<string, Action['kind'][]> = {};
  for (const action of actions(entries)) {
    if (action.kind !== 'shift') done[action.instance] = [...(done[action.instance] ?? []), action.kind];
  }
  return done;
}

async function planned(scene: Scene): Promise<JournalEntry[]> {
  const revisions = revisionsOf(scene);
  const now = 1_000_000;
  const world = simulation({ start: now, revisionOf: () => null });
  await begin(world, scene, revisions);
  const [table] = await world.dataPlane.status();
  const machines = await world.world.hypervisor.list();
  const strategy = await strategyOf(scene.strategy);
  return await simulate(opening(scene, now), strategy, revisions, {
    machines,
    templates: [],
    table: table ?? null,
  });
}

describe('a plan, with any strategy, when nothing goes wrong', () => {
  // Of two instances that are ready in the same moment either may be let in first.
  it('is what then happens to each instance, and to the traffic, where guests behave like those of the model', async () => {
    await fc.assert(
      fc.asyncProperty(quiet, async (scene) => {
        const modelled = attended({ ...scene, costs: {}, busy: 0 });
        const { entries } = await play(modelled, () => {});
        const plan = await planned(modelled);
        expect(byInstance(plan)).toEqual(byInstance(entries));
        expect(shifts(plan)).toEqual(shifts(entries));
      }),
      { numRuns: RUNS },
    );
  });

  // Which of the instances that are too many has been swapped, or let in once more, before it goes is a matter of time.
  it('is what then happens to each instance of a pool that keeps its size, however long things take', async () => {
    const sameSize = quiet.map((scene) => ({ ...scene, after: scene.before }));
    await fc.assert(
      fc.asyncProperty(sameSize, async (scene) => {
        const { entries } = await play(attended(scene), () => {});
        expect(byInstance(await planned(attended(scene)))).toEqual(byInstance(entries));
      }),
      { numRuns: RUNS },
    );
  });
});
