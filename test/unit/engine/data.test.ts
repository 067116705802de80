import { describe, expect, it } from 'vitest';
import { simulation } from '../../../src/daemon/simulation.ts';
import type { Happening } from '../../../src/domain/journal.ts';
import { keepState, prepareData } from '../../../src/engine/data.ts';
import type { Teller } from '../../../src/probe/port.ts';
import { DISK, revision } from '../../support/revisions.ts';

const VOLUME = { ...DISK, freeze: '/freeze', thaw: '/thaw' };

/** A guest that has the disk, and what it is told; some of that it does not answer. */
function scene(deaf: (path: string, nth: number) => boolean = () => false) {
  const { world } = simulation({ revisionOf: () => null });
  const spec = { ...revision(1, { data: [VOLUME] }), id: 'site-1-1', revision: 1, rollout: 1, launchedAt: 0 };
  world.adopt({ spec, state: 'running', runState: 'running', endpoint: null, volumes: spec.volumes });
  const told: string[] = [];
  const tell: Teller = async (_endpoint, path) => {
    told.push(path);
    if (deaf(path, told.filter((each) => each === path).length)) throw new Error('no answer');
  };
  return { parts: { hypervisor: world.hypervisor, tell }, told };
}

describe('a state that is kept', () => {
  it('is taken while the guest holds still, and it goes on', async () => {
    const { parts, told } = scene();
    expect(await keepState(parts, 'site', VOLUME, 'mine')).toMatchObject({
      still: true,
      snapshot: { name: 'mine' },
    });
    expect(told).toEqual(['/freeze', '/thaw']);
  });

  it('is taken of a guest that does not answer, too, and it is told to go on all the same', async () => {
    const { parts, told } = scene((path) => path === '/freeze');
    expect(await keepState(parts, 'site', VOLUME, 'mine')).toMatchObject({
      still: expect.stringContaining('no answer'),
    });
    expect(told).toEqual(['/freeze', '/thaw']);
  });

  it('of a guest that does not go on is no success; it is told more than once', async () => {
    const once = scene((path, nth) => path === '/thaw' && nth === 1);
    await keepState(once.parts, 'site', VOLUME, 'mine');
    expect(once.told).toEqual(['/freeze', '/thaw', '/thaw']);
    const never = scene((path) => path === '/thaw');
    await expect(keepState(never.parts, 'site', VOLUME, 'mine')).rejects.toMatchObject({
      code: 'UD_GUEST_UNHEALTHY',
    });
  });
});

describe('before a rollout', () => {
  const larger = revision(2, { code: 'y', data: [{ ...VOLUME, size: VOLUME.size * 2 }] });

  it('the state is kept and the disk grows, once, however often it is begun', async () => {
    const { parts } = scene();
    const happened: Happening[] = [];
    const prepare = () =>
      prepareData(
        parts,
        { id: 7, service: 'site', kind: 'rollout' },
        revision(1, { data: [VOLUME] }),
        larger,
        (each) => happened.push(each),
      );
    await prepare();
    expect(happened).toEqual([
      { event: 'data-kept', volume: 'journal', snapshot: 'before-rollout-7', still: true, by: null },
      { event: 'data-grown', volume: 'journal', from: VOLUME.size, to: VOLUME.size * 2, by: null },
    ]);
    await prepare();
    const [volume] = await parts.hypervisor.dataVolumes();
    expect(volume).toMatchObject({ size: VOLUME.size * 2, snapshots: [{ name: 'before-rollout-7' }] });
  });

  it('nothing is done where no other code comes, or where nobody wants it', async () => {
    const { parts, told } = scene();
    const plain = revision(1, { data: [{ ...VOLUME, snapshot: 'never' }] });
    const object = (happening: Happening) => expect(happening).toBeNull();
    await prepareData(parts, { id: 7, service: 'site', kind: 'repair' }, larger, larger, object);
    await prepareData(parts, { id: 7, service: 'site', kind: 'restart' }, larger, larger, object);
    await prepareData(parts, { id: 7, service: 'site', kind: 'rollout' }, plain, plain, object);
    expect(told).toEqual([]);
  });
});
