import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { JournalEntry } from '../../src/domain/journal.ts';
import type { Sickness } from '../../src/hypervisor/simulated/world.ts';
import { DISK } from '../support/revisions.ts';
import { type End, play } from '../support/rollouts/play.ts';
import { attended, quiet, type Scene, troubled } from '../support/rollouts/scenes.ts';
import { supervised } from '../support/supervised.ts';

const RUNS = Number(process.env.UNIDEPLOY_PROPERTY_RUNS ?? 2500);

/** A service of one instance with a disk, moved in the ways that are open to it. */
function withDisk(scene: Scene): Scene {
  const swaps = scene.strategy === 'volume-swap' && scene.change === 'volumes';
  const third = scene.third.strategy === 'volume-swap' && scene.third.change === 'volumes';
  return {
    ...scene,
    before: 1,
    after: 1,
    strategy: swaps ? 'volume-swap' : 'recreate',
    third: { ...scene.third, strategy: third ? 'volume-swap' : 'recreate' },
    data: [DISK],
  };
}

function wronglyAttached(entries: JournalEntry[]): JournalEntry[] {
  return entries.filter((entry) => entry.event === 'action-failed' && entry.error.code === 'UD_DATA_IN_USE');
}

/** No launch ever found its disk with somebody else. */
async function playWithDisk(scene: Scene): Promise<End> {
  const end = await play(withDisk(scene), () => {});
  expect(wronglyAttached(end.entries)).toEqual([]);
  return end;
}

describe('a disk is one instance’s at a time', () => {
  it('when nothing goes wrong, and the rollout reaches its goal', async () => {
    await fc.assert(
      fc.asyncProperty(quiet, async (scene) => {
        const end = await playWithDisk(attended(scene));
        expect(end.rollout.state).toBe('succeeded');
        expect(end.machines).toHaveLength(1);
      }),
      { numRuns: RUNS / 10 },
    );
  });

  it('whatever fails, and whenever controllers are killed', async () => {
    await fc.assert(
      fc.asyncProperty(troubled, async (scene) => {
        await playWithDisk(scene);
      }),
      { numRuns: RUNS / 2 },
    );
  });

  it('whatever befalls guests: a repair ends the sick one before it starts another', async () => {
    const blow = fc.record({
      at: fc.integer({ min: 0, max: 20_000 }),
      sickness: fc.constantFrom<Sickness>('dies', 'panics', 'hangs', 'errs', 'leaks', 'stops', 'heals'),
    });
    await fc.assert(
      fc.asyncProperty(fc.array(blow, { maxLength: 5 }), async (blows) => {
        const here = await supervised({ replicas: 1, data: [DISK] });
        for (const { at, sickness } of blows) {
          await here.pass(at);
          const [id] = await here.ids();
          if (id !== undefined) here.befall(id, sickness);
        }
        await here.pass(300_000);
        expect(wronglyAttached(here.entries('action-failed'))).toEqual([]);
        const { gaveUp, instances } = await here.services.status('site');
        if (gaveUp) return;
        expect(instances.filter((i) => i.weight > 0 && i.health === 'healthy')).toHaveLength(1);
      }),
      { numRuns: RUNS / 50 },
    );
  });
});
