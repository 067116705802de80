import { describe, expect, it } from 'vitest';
import type { Action } from '../../../src/domain/action.ts';
import { hookGate } from '../../../src/domain/gate.ts';
import { act, done, stand, wait } from '../../../src/domain/strategy.ts';
import { recreate } from '../../../strategies/recreate.ts';
import { instance, instances, pool, view } from '../../support/pools.ts';

const NOW = 5000;
const two = view({ replicas: 2 });
const launches = act(...['new-1', 'new-2'].map((id): Action => ({ kind: 'launch', instance: id })));

describe('recreate', () => {
  it('stands at the hooks of the cutover before it touches anybody', () => {
    const hooked = view({ replicas: 2, passed: {} });
    expect(recreate.next(pool(...instances(2, 'old', 1)), hooked, NOW)).toEqual(
      stand(hookGate('pre-cutover')),
    );
  });

  it('drains every old instance, and retires each that has nothing in flight any more', () => {
    expect(recreate.next(pool(...instances(2, 'old', 1)), two, NOW)).toEqual(
      act({ kind: 'drain', instance: 'old-1' }, { kind: 'drain', instance: 'old-2' }),
    );
    const drained = pool(
      instance('old-1', 1, { weight: 0 }),
      instance('old-2', 1, { weight: 0, inFlight: 1, acting: 'drain' }),
    );
    expect(recreate.next(drained, two, NOW)).toEqual(act({ kind: 'retire', instance: 'old-1' }));
  });

  it('launches nothing while an old instance is still there: two versions never run at once', () => {
    const leaving = pool(instance('old-1', 1, { weight: 0, acting: 'retire' }));
    expect(recreate.next(leaving, two, NOW)).toEqual(wait('the old instances to end'));
    expect(recreate.next(pool(), two, NOW)).toEqual(launches);
  });

  it('admits the new ones once verified, and is done', () => {
    const fresh = instances(2, 'new', 2).map((one) => ({ ...one, launchedAt: 2000 }));
    expect(recreate.next(pool(...fresh.map((one) => ({ ...one, weight: 0 }))), two, NOW)).toEqual(
      act(...['new-1', 'new-2'].map((id): Action => ({ kind: 'admit', instance: id, weight: 100 }))),
    );
    expect(recreate.next(pool(...fresh), two, NOW)).toEqual(done);
  });

  it('goes back the same way, and stands nowhere', () => {
    const back = view({ replicas: 2, target: 1, direction: 'back', since: 4000, passed: {} });
    expect(recreate.next(pool(instance('new-1', 2)), back, NOW)).toEqual(
      act({ kind: 'drain', instance: 'new-1' }),
    );
    expect(recreate.next(pool(), back, NOW)).toEqual(launches);
  });
});
