import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { strategyOf } from '../../../src/daemon/strategy-of.ts';
import type { StrategyName } from '../../../src/domain/policy.ts';
import { runRollout } from '../../../src/engine/engine.ts';
import { strategies } from '../../../strategies/index.ts';
import { goalOf, HEALTH, revision } from '../../support/revisions.ts';
import { open, tablesOf, world } from '../../support/rollouts/world.ts';

const OWN = fileURLToPath(
  new URL('../../../examples/strategies/one-at-a-time.mjs', import.meta.url),
) as StrategyName;

let folder = '';
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'unideploy-strategies-'));
});
afterAll(async () => await rm(folder, { recursive: true }));

async function module(name: string, text: string): Promise<StrategyName> {
  await writeFile(join(folder, name), text);
  return join(folder, name) as StrategyName;
}

describe('a strategy by its name', () => {
  it('is one of ours', async () => {
    for (const [name, strategy] of Object.entries(strategies)) {
      expect(await strategyOf(name as StrategyName)).toBe(strategy);
      expect(strategy.name).toBe(name);
    }
  });

  it('is what a module exports, by its path', async () => {
    expect(await strategyOf(OWN)).toMatchObject({ name: 'one-at-a-time' });
  });

  it('cannot be a module that is not there, not JavaScript, or exports something else', async () => {
    const broken = [
      join(folder, 'nowhere.mjs') as StrategyName,
      await module('text.mjs', 'one at a time'),
      await module('nothing.mjs', 'export const next = () => {};'),
      await module('nameless.mjs', 'export default { next() {} };'),
      await module('throwing.mjs', 'throw new Error("two\\nlines");'),
    ];
    for (const path of broken) {
      await expect(strategyOf(path)).rejects.toMatchObject({
        code: 'UD_STRATEGY',
        message: expect.stringMatching(/^the strategy \S+ cannot be used: .+$/),
      });
    }
  });
});

describe('the example of a strategy of one’s own', () => {
  const images = [revision(1), revision(2, { image: 'b' })] as const;
  const change = { strategy: OWN, from: goalOf(1, 3), to: goalOf(2, 3) };

  it('rolls out, never with fewer than all replicas, and stands after the first', async () => {
    const sim = await world([...images], 3);
    open(sim, change);
    const tables = tablesOf(sim);
    void sim.clock.sleep(60_000).then(() => {
      const standing = sim.store.rollout(2);
      if (standing)
        sim.store.append(standing, sim.clock.now(), { event: 'ordered', how: 'promote', by: 'ana' });
    });
    expect((await sim.clock.until(runRollout(sim.controller(HEALTH), 2))).state).toBe('succeeded');
    const serving = tables.map(({ routes }) => routes.filter(({ weight }) => weight > 0).length);
    expect(Math.min(...serving)).toBe(3);
    expect((await sim.dataPlane.status())[0]?.routes.map((route) => route.revision)).toEqual([2, 2, 2]);
    expect(sim.store.entries).toContainEqual(
      expect.objectContaining({ event: 'gate-passed', gate: 'the first', by: 'ana' }),
    );
  });

  it('goes back when an instance does not come up', async () => {
    const sim = await world([...images], 3, () => 'never-healthy');
    open(sim, change);
    const ended = await sim.clock.until(runRollout(sim.controller(HEALTH), 2));
    expect(ended).toMatchObject({ state: 'rolled-back', reason: { code: 'UD_GUEST_UNHEALTHY' } });
    expect((await sim.dataPlane.status())[0]?.routes.map((route) => route.revision)).toEqual([1, 1, 1]);
    expect(await sim.world.hypervisor.list()).toHaveLength(3);
  });
});
