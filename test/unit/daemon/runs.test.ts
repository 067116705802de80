import { describe, expect, it } from 'vitest';
import { Runs } from '../../../src/daemon/runs.ts';
import { Troubles } from '../../../src/daemon/troubles.ts';
import { HEALTH, revision } from '../../support/revisions.ts';
import { open, world } from '../../support/rollouts/world.ts';

/** A disk that fills at the n-th thing that is written, and has room again after so many refusals. */
function disk(fullAt: number, code: string, times: number) {
  let written = 0;
  let refused = 0;
  return {
    refused: () => refused,
    write: () => {
      if (++written < fullAt || refused >= times) return;
      refused++;
      throw Object.assign(new Error('database or disk is full'), { code });
    },
  };
}

async function scene(fullAt: number, code: string, times = 3) {
  const sim = await world([revision(1), revision(2, { image: 'b' })], 1);
  open(sim, { strategy: 'rolling' });
  const { refused, write } = disk(fullAt, code, times);
  const parts = sim.controller(HEALTH);
  const { append, record, updateRollout, closeRollout } = parts.store;
  const store = {
    ...parts.store,
    append: (...args: Parameters<typeof append>) => {
      write();
      return append(...args);
    },
    record: (...args: Parameters<typeof record>) => {
      write();
      record(...args);
    },
    updateRollout: (...args: Parameters<typeof updateRollout>) => {
      write();
      updateRollout(...args);
    },
    closeRollout: (...args: Parameters<typeof closeRollout>) => {
      write();
      closeRollout(...args);
    },
  };
  const said: string[] = [];
  const log = (line: string) => void said.push(line);
  const runs = new Runs({ ...parts, store }, log, new Troubles(log));
  const rollout = sim.store.rollout(2);
  if (!rollout) expect.fail();
  runs.start(rollout);
  await sim.clock.until(runs.ended(2));
  return { sim, said, refused: refused() };
}

describe('a rollout whose store cannot be written', () => {
  it.each(Array.from({ length: 12 }, (_, i) => i + 1))(
    'stands still, says why once, and goes on when it can: full at write %i',
    async (fullAt) => {
      const { sim, said, refused } = await scene(fullAt, 'SQLITE_FULL');
      expect(refused).toBe(3);
      expect(sim.store.rollout(2)).toMatchObject({ state: 'succeeded' });
      expect(said.filter((line) => line.includes('UD_DISK_FULL'))).toHaveLength(1);
      expect(said.at(-2)).toBe('rollout 2 of site: goes on');
      expect((await sim.world.hypervisor.list()).map(({ spec }) => spec.revision)).toEqual([2]);
      expect((await sim.dataPlane.status())[0]?.routes).toMatchObject([{ revision: 2 }]);
    },
  );

  it('is given up when that is no trouble of the host, and says so', async () => {
    const { said } = await scene(5, 'SQLITE_CONSTRAINT', 10);
    expect(said.at(-1)).toContain('rollout 2 of site stands still');
  });
});
