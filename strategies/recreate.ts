import type { Action } from '../src/domain/action.ts';
import { hookGate } from '../src/domain/gate.ts';
import type { ObservedInstance, ObservedPool } from '../src/domain/pool.ts';
import {
  act,
  type Decision,
  type RolloutView,
  type Strategy,
  shut,
  stand,
  wait,
} from '../src/domain/strategy.ts';
import { obstacle } from './failing.ts';
import { roll, sort } from './rolling.ts';

/**
 * Ends every old instance before the first new one starts, for applications of which two versions must never run at once.
 * Requests wait in the proxy meanwhile, within the bounds of `proxy.hold`.
 */
export const recreate: Strategy = { name: 'recreate', next };

function next(pool: ObservedPool, rollout: RolloutView, now: number): Decision {
  const stopped = obstacle(pool, rollout, now);
  if (stopped) return stopped;
  const { leave } = sort(pool, rollout);
  if (leave.length === 0) return roll(pool, rollout, now);
  const gate = shut(rollout, hookGate('pre-cutover'));
  if (gate) return stand(gate);
  const actions = leave.filter(({ acting }) => acting === null).map(departure);
  return actions.length > 0 ? act(...actions) : wait('the old instances to end');
}

function departure({ id, state, weight, inFlight }: ObservedInstance): Action {
  const idle = state === 'stopped' || (weight === 0 && inFlight === 0);
  return { kind: idle ? 'retire' : 'drain', instance: id };
}
