import { describe, expect, it } from 'vitest';
import type { Simulation } from '../../../src/daemon/simulation.ts';
import type { Revision } from '../../../src/domain/revision.ts';
import { runRollout } from '../../../src/engine/engine.ts';
import type { Incident } from '../../../src/hypervisor/simulated/world.ts';
import { mortal } from '../../support/mortal.ts';
import { goalOf, HEALTH, revision } from '../../support/revisions.ts';
import { open, world } from '../../support/rollouts/world.ts';

const copied = (each: Revision): Revision => ({ ...each, machine: { ...each.machine, wake: '/wake' } });
const REVISIONS: [Revision, Revision] = [copied(revision(1)), copied(revision(2, { image: 'b' }))];

async function rolledOut(
  before: number,
  after: number,
  fates: Record<string, Incident> = {},
  revisions = REVISIONS,
): Promise<Simulation> {
  const sim = await world(revisions, before, (id) => fates[id] ?? null);
  open(sim, { from: goalOf(1, before), to: goalOf(2, after) });
  expect(await sim.clock.until(runRollout(sim.controller(HEALTH), 2))).toMatchObject({ state: 'succeeded' });
  return sim;
}

const count = (sim: Simulation, event: string) =>
  sim.store.entries.filter((entry) => entry.event === event).length;

describe('instances of a revision', () => {
  it('are copies of one template, which is made once', async () => {
    const sim = await rolledOut(3, 3);
    expect(count(sim, 'template-made')).toBe(1);
    expect(count(sim, 'copied')).toBe(3);
    expect(await sim.world.hypervisor.templates()).toMatchObject([{ service: 'site', revision: 2 }]);
    expect(sim.world.machines()).toHaveLength(3);
  });

  it('boot where guests of this kind are never copied, or where there is only one', async () => {
    const never = await rolledOut(3, 3, {}, [revision(1), revision(2, { image: 'b' })]);
    const one = await rolledOut(1, 1);
    for (const sim of [never, one]) {
      expect(count(sim, 'template-made')).toBe(0);
      expect(await sim.world.hypervisor.templates()).toEqual([]);
    }
  });

  it('are copies, though there is only one, of a template that is there', async () => {
    const sim = await rolledOut(3, 3);
    open(sim, { id: 3, from: goalOf(2, 3), to: goalOf(2, 4), kind: 'scale' });
    await sim.clock.until(runRollout(sim.controller(HEALTH), 3));
    expect(count(sim, 'template-made')).toBe(1);
    expect(count(sim, 'copied')).toBe(4);
  });
});

describe('a template that is of no use', () => {
  it.each(['copy-rejected', 'copy-asleep'] as const)(
    'is told of and removed, and guests boot (%s)',
    async (fate) => {
      const sim = await rolledOut(3, 3, { 'site-2-2': fate });
      expect(count(sim, 'copied')).toBe(1);
      expect(sim.store.entries).toContainEqual(
        expect.objectContaining({ event: 'template-broken', instance: 'site-2-2' }),
      );
      expect(count(sim, 'template-broken')).toBe(1);
      expect(await sim.world.hypervisor.templates()).toEqual([]);
      expect(sim.world.machines()).toHaveLength(3);
    },
  );

  it('is none where no guest gets ready to be made one: the rollout goes back as ever', async () => {
    const never = { ...HEALTH, deadline: 2_000 };
    const sim = await world(REVISIONS, 2);
    open(sim, { from: goalOf(1, 2), to: goalOf(2, 2), health: never });
    const ended = await sim.clock.until(runRollout(sim.controller(never), 2));
    expect(ended.state).toBe('rolled-back');
    expect(count(sim, 'template-broken')).toBe(1);
  });
});

describe('a controller that dies', () => {
  it('while a copy sleeps leaves no twin in the pool', async () => {
    const sim = await world(REVISIONS, 2);
    open(sim, { from: goalOf(1, 2), to: goalOf(2, 2) });
    const life = mortal();
    const { wake } = sim.world.prober;
    const dying = new Promise<void>((resolve) => {
      sim.world.prober.wake = async () => {
        life.kill();
        resolve();
        return { heard: false, summary: '' };
      };
    });
    await sim.clock.until(Promise.race([runRollout(sim.controller(HEALTH, life.through), 2), dying]));
    sim.world.prober.wake = wake;
    const ended = await sim.clock.until(runRollout(sim.controller(HEALTH), 2));
    expect(ended.state).toBe('succeeded');
    expect(count(sim, 'copied')).toBe(2);
  });
});
