import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { simulate } from '../../src/daemon/plan.ts';
import { strategyOf } from '../../src/daemon/strategy-of.ts';
import { instancesOf } from '../../src/domain/action.ts';
import type { JournalEntry } from '../../src/domain/journal.ts';
import { opening, play, revisionsOf, type Stage } from '../support/rollouts/play.ts';
import { attended, quiet } from '../support/rollouts/scenes.ts';
import { watch } from '../support/rollouts/watch.ts';

const RUNS = Number(process.env.UNIDEPLOY_PROPERTY_RUNS ?? 2000);

describe('the plan of a rollout', () => {
  it('is what then happens when nothing goes wrong, whatever the machines take for it', async () => {
    await fc.assert(
      fc.asyncProperty(quiet, async (chosen) => {
        const scene = attended(chosen);
        let planned: Promise<JournalEntry[]> = Promise.resolve([]);
        const end = await play(scene, (stage) => {
          watch(stage);
          planned = plan(stage);
        });
        expect(actionsOf(end.entries)).toEqual(actionsOf(await planned));
      }),
      { numRuns: RUNS },
    );
  });
});

/** What `unideploy plan` would say of the scene before it begins. */
async function plan({ scene, sim }: Stage): Promise<JournalEntry[]> {
  const opened = opening(scene, sim.clock.now());
  const [machines, [table = null]] = await Promise.all([sim.world.hypervisor.list(), sim.dataPlane.status()]);
  const strategy = await strategyOf(opened.strategy);
  return await simulate(opened, strategy, revisionsOf(scene), { machines, table });
}

/** What is done to each instance, in its order; and to all of them, in that of the shifts. */
function actionsOf(entries: JournalEntry[]): Record<string, string[]> {
  const all: Record<string, string[]> = {};
  for (const entry of entries) {
    if (entry.event !== 'action-started') continue;
    const { action } = entry;
    const key = action.kind === 'shift' ? 'shifts' : (instancesOf(action)[0] ?? '');
    all[key] = [...(all[key] ?? []), JSON.stringify(action)];
  }
  return all;
}
