import { expect, test } from 'vitest';
import { stillMeanwhile } from '../../../src/engine/data.ts';
import { UnideployError } from '../../../src/errors.ts';
import { SimulatedWorld } from '../../../src/hypervisor/simulated/world.ts';
import { DISK, revision } from '../../support/revisions.ts';

const HOOKED = { ...DISK, freeze: '/freeze', thaw: '/thaw' };

/** A guest that has the disk, and what it was told, with the work that was done meanwhile among it. */
async function guest(refuses: (path: string) => boolean = () => false) {
  const { hypervisor } = new SimulatedWorld({ now: () => 0, sleep: async () => {} });
  const launched = { id: 'site-1-1', revision: 1, rollout: 1, launchedAt: 0 };
  await hypervisor.launch({ ...revision(1, { data: [HOOKED] }), ...launched });
  const told: string[] = [];
  const tell = async (_endpoint: unknown, path: string) => {
    told.push(path);
    if (refuses(path)) throw new UnideployError('UD_GUEST_UNHEALTHY', `no answer to ${path}`, 'look at it');
  };
  const work = async () => {
    told.push('work');
    return 7;
  };
  return { parts: { hypervisor, tell }, told, work };
}

test('a guest holds still while it is done, and goes on', async () => {
  const { parts, told, work } = await guest();
  expect(await stillMeanwhile(parts, 'site', HOOKED, work)).toEqual({ done: 7, still: true });
  expect(told).toEqual(['/freeze', 'work', '/thaw']);
});

test('it goes on when what was to be done fails, too', async () => {
  const { parts, told } = await guest();
  const failing = async () => {
    throw new Error('no room');
  };
  await expect(stillMeanwhile(parts, 'site', HOOKED, failing)).rejects.toThrow('no room');
  expect(told).toEqual(['/freeze', '/thaw']);
});

test('of one that does not hold still it is done all the same, and said; it may have heard, and is told to go on', async () => {
  const { parts, told, work } = await guest((path) => path === '/freeze');
  const { done, still } = await stillMeanwhile(parts, 'site', HOOKED, work);
  expect({ done, still }).toEqual({ done: 7, still: 'no answer to /freeze' });
  expect(told).toEqual(['/freeze', 'work', '/thaw']);
});

test('one that holds still and does not go on is told so more than once, and is an error', async () => {
  const { parts, told, work } = await guest((path) => path === '/thaw');
  await expect(stillMeanwhile(parts, 'site', HOOKED, work)).rejects.toMatchObject({
    code: 'UD_GUEST_UNHEALTHY',
  });
  expect(told).toEqual(['/freeze', 'work', '/thaw', '/thaw', '/thaw']);
});

test('a guest without hooks, and a disk without a guest, are asked nothing', async () => {
  const { parts, told, work } = await guest();
  expect((await stillMeanwhile(parts, 'site', DISK, work)).still).toBeNull();
  await parts.hypervisor.stop('site-1-1', 0);
  expect((await stillMeanwhile(parts, 'site', HOOKED, work)).still).toBeNull();
  expect(told).toEqual(['work', 'work']);
});
