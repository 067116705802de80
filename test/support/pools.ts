import type { ObservedInstance, ObservedPool } from '../../src/domain/pool.ts';
import type { RolloutView } from '../../src/domain/strategy.ts';
import { HEALTH, POLICY } from './revisions.ts';

/** An instance as it is in a pool at rest; `changes` say what is different. */
export function instance(
  id: string,
  revision: number | null,
  changes: Partial<ObservedInstance> = {},
): ObservedInstance {
  return {
    id,
    revision,
    verified: true,
    health: 'healthy',
    healthySince: 0,
    state: 'running',
    launchedAt: 0,
    weight: 100,
    routed: true,
    mislabelled: false,
    swappable: true,
    burdened: false,
    inFlight: 0,
    acting: null,
    ...changes,
  };
}

/** So many instances at rest, `old-1`, `old-2`, … */
export function instances(count: number, name: string, revision: number): ObservedInstance[] {
  return Array.from({ length: count }, (_, n) => instance(`${name}-${n + 1}`, revision));
}

export function pool(...members: ObservedInstance[]): ObservedPool {
  return { instances: members, hold: false };
}

/** A rollout to revision 2 on four, that began at 1,000. */
export function view(changes: Partial<RolloutView> = {}): RolloutView {
  return {
    target: 2,
    replicas: 4,
    from: 1,
    policy: POLICY,
    health: HEALTH,
    swap: 'overlap',
    direction: 'forward',
    change: 'image',
    since: 1000,
    renew: null,
    sick: [],
    replaces: null,
    passed: { 'pre-cutover': 0, 'post-cutover': 0, bake: 0 },
    swapped: [],
    spare: 0,
    exclusive: false,
    freshId: (ordinal) => `new-${ordinal + 1}`,
    ...changes,
  };
}
