import fc from 'fast-check';
import { expect, it } from 'vitest';
import type { Sickness } from '../../src/hypervisor/simulated/world.ts';
import { supervised } from '../support/supervised.ts';

const RUNS = Number(process.env.UNIDEPLOY_PROPERTY_RUNS ?? 2500) / 50;

it('whatever befalls guests, repairs keep to their limit, and all ends well or is given up', async () => {
  const limits = { repairs: 4, window: 120_000, backoff: 500 };
  const blow = fc.record({
    at: fc.integer({ min: 0, max: 20_000 }),
    victim: fc.nat(2),
    sickness: fc.constantFrom<Sickness>('dies', 'panics', 'hangs', 'errs', 'leaks', 'stops', 'heals'),
  });
  await fc.assert(
    fc.asyncProperty(fc.array(blow, { maxLength: 8 }), async (blows) => {
      const here = await supervised({ replicas: 3, supervision: { limits } });
      for (const { at, victim, sickness } of blows) {
        await here.pass(at);
        const id = (await here.ids())[victim];
        if (id !== undefined) here.befall(id, sickness);
      }
      await here.pass(200_000);
      const began = here.repairs().map(({ startedAt }) => startedAt);
      const within = (end: number) => began.filter((at) => at <= end && at > end - limits.window).length;
      for (const at of began) expect(within(at)).toBeLessThanOrEqual(limits.repairs);
      expect(here.store.openRollouts()).toEqual([]);
      const { sick, gaveUp, instances } = await here.services.status('site');
      if (gaveUp) return;
      expect(sick).toEqual([]);
      expect(instances.filter((i) => i.weight > 0 && i.health === 'healthy')).toHaveLength(3);
    }),
    { numRuns: RUNS },
  );
});
