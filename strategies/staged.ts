import type { Action } from '../src/domain/action.ts';
import { bakeGate, type Gate, hookGate } from '../src/domain/gate.ts';
import { bounds } from '../src/domain/policy.ts';
import type { ObservedInstance, ObservedPool } from '../src/domain/pool.ts';
import {
  act,
  type Decision,
  done,
  type RolloutView,
  type Strategy,
  shut,
  stand,
  wait,
} from '../src/domain/strategy.ts';
import { isFit, isTarget, obstacle } from './failing.ts';
import { distribution, giveBack } from './portions.ts';
import { launchesOf, roll, sort } from './rolling.ts';
import { abandon, evenOut, isLeftOver } from './takeover.ts';
import { swap } from './volume-swap.ts';

/** What has to be before traffic moves on: so much of the pool new, with that share of the requests, and a gate passed. */
interface Stage {
  /** per cent of the pool that is of the new revision, one instance at least */
  size: number;
  /** per cent of the requests that it gets */
  share: number;
  gate: Gate;
}

/** How a strategy in stages goes about it. */
export interface Plan {
  stages: Stage[];
  /** after the last stage all requests move with one table, also where that leaves a part of the guests idle for a while */
  atOnce: boolean;
}

/**
 * Builds the new revision beside the old one and moves the traffic in stages, each with one table.
 *
 * - An image needs other guests: they are launched beside a whole old pool, which stays through the bake time, so that
 *   going back is one table too.
 * - Code volumes need none: a part of the guests gets the new volume out of traffic, and the rest keeps the old one.
 *
 * On the way back there are no stages: the weights move as fast as the old revision's capacity allows, at once where it
 * is still there.
 */
export function staged(planOf: (rollout: RolloutView) => Plan): Strategy['next'] {
  return (pool, rollout, now) => {
    const stopped = obstacle(pool, rollout, now);
    if (stopped) return stopped;
    const plan = planOf(rollout);
    const shifting = pool.instances.some(({ acting }) => acting === 'shift');
    if (shifting) return wait('the traffic to move');
    const abandoned = abandon(pool, rollout);
    if (abandoned) return abandoned;
    const over = rollout.change === 'volumes' ? overVolumes : overImages;
    return over(pool, rollout, now, plan);
  };
}

function overImages(pool: ObservedPool, rollout: RolloutView, now: number, { stages }: Plan): Decision {
  const { keep, leave } = sort(pool, rollout);
  const old = leave.filter(({ weight }) => weight > 0);
  if (old.length === 0) return settle(pool, rollout, now);

  const idle = leave.filter(({ weight, inFlight, acting }) => weight + inFlight === 0 && acting === null);
  if (idle.length > 0) return act(...idle.map(({ id }): Action => ({ kind: 'retire', instance: id })));
  const stage = stages.find(({ gate }) => shut(rollout, gate));
  const wanted = stage ? partOf(rollout.replicas, stage) : rollout.replicas;
  const actions = [...launchesOf(wanted - keep.length, rollout), ...toTheTable(keep, rollout, now)];
  if (actions.length > 0) return act(...actions);
  const fresh = keep.filter((i) => i.routed && i.acting === null && isFit(i, rollout, now));
  if (rollout.direction === 'back') {
    const enough = rollout.replicas - bounds(rollout.policy, rollout.replicas).unavailable;
    return giveBack(fresh, old, enough, rollout) ?? wait('the old instances to be healthy');
  }
  if (fresh.length < wanted) return wait(`${wanted - fresh.length} new instances to be healthy and verified`);
  return moveOn(stage, fresh, old, rollout);
}

/** No request goes to another revision any more: what is left of it is kept while the new one bakes, and then goes. */
function settle(pool: ObservedPool, rollout: RolloutView, now: number): Decision {
  const { keep, leave } = sort(pool, rollout);
  const serving = keep.filter(({ weight }) => weight > 0);
  const even = evenOut(serving);
  if (even) return even;
  const whole = serving.length === rollout.replicas && serving.length > 0;
  if (!whole || rollout.direction === 'back') return roll(pool, rollout, now);
  const gate = shut(rollout, hookGate('post-cutover'), bakeGate(rollout.policy.bake));
  if (gate) return stand(gate);
  // Instances of the very revision that serves are nothing to go back to.
  if (rollout.policy.warm === 0 || rollout.change === 'none') return roll(pool, rollout, now);
  const dead = leave.filter(({ state, acting }) => state === 'stopped' && acting === null);
  if (dead.length > 0) return act(...dead.map(({ id }): Action => ({ kind: 'retire', instance: id })));
  return leave.some(({ acting }) => acting !== null) ? wait('the dead instances to be removed') : done;
}

function overVolumes(
  pool: ObservedPool,
  rollout: RolloutView,
  now: number,
  { stages, atOnce }: Plan,
): Decision {
  const running = pool.instances.filter((i) => i.state === 'running' && i.swappable && i.acting !== 'retire');
  const fresh = running.filter((i) => isTarget(i, rollout));
  const old = running
    .filter((i) => !isTarget(i, rollout))
    .sort((a, b) => Number(isLeftOver(b, rollout)) - Number(isLeftOver(a, rollout)));
  const serving = old.filter(({ weight }) => weight > 0);
  const going = rollout.direction === 'forward';
  if (running.length < 2 || old.length === 0 || (!going && fresh.length === 0))
    return evenOut(running) ?? swap(pool, rollout, now);

  const fit = fresh.filter((i) => i.acting === null && isFit(i, rollout, now));
  const previews = toTheTable(fresh, rollout, now);
  if (previews.length > 0) return act(...previews);
  const missing = Math.max(1, bounds(rollout.policy, running.length).unavailable);
  if (!going) {
    const still = running.every(({ weight, acting }) => weight === 0 || acting === null);
    const enough = atOnce ? Math.floor(running.length / 2) : running.length - missing;
    return (still && giveBack(fit, serving, enough, rollout)) || swap(pool, rollout, now);
  }

  const stage = stages.find(({ gate }) => shut(rollout, gate));
  if (!stage && (!atOnce || serving.length === 0)) {
    const gate = atOnce ? shut(rollout, hookGate('post-cutover'), bakeGate(rollout.policy.bake)) : undefined;
    if (gate) return stand(gate);
    return (atOnce ? undefined : evenOut(running)) ?? swap(pool, rollout, now);
  }
  const wanted = Math.min(running.length - 1, partOf(running.length, stage ?? HALF));
  if (fresh.length < wanted) {
    const use = atOnce || !stage ? undefined : putToUse(stage, fit, serving);
    const aside = running.filter(({ weight, acting }) => weight === 0 || acting === 'drain');
    const busy = atOnce ? aside.filter((i) => !fit.includes(i)) : aside;
    return use ?? swapApart(old, Math.min(wanted - fresh.length, missing) - busy.length, rollout);
  }
  if (fit.length < fresh.length)
    return wait(`${fresh.length - fit.length} guests to be healthy with the new volume`);
  return moveOn(stage, fit, serving, rollout);
}

/** What a switch at once needs of guests with new volumes: as many as stay with the old ones. */
const HALF = { size: 50 };

/** Guests that have the new volume serve while others get theirs: their part of the requests, no more than the stage's share. */
function putToUse(
  { share }: Stage,
  fit: ObservedInstance[],
  serving: ObservedInstance[],
): Decision | undefined {
  if (fit.every(({ weight }) => weight > 0)) return undefined;
  const part = Math.floor((100 * fit.length) / (fit.length + serving.length));
  const moved = distribution(Math.min(share, part), fit, serving);
  return moved && act(moved);
}

/** Gives guests the new volume out of traffic, and takes so many more of them out of it. */
function swapApart(old: ObservedInstance[], more: number, rollout: RolloutView): Decision {
  let room = more;
  const actions: Action[] = [];
  for (const instance of old.filter(({ acting }) => acting === null)) {
    if (instance.weight === 0 && instance.inFlight === 0)
      actions.push({ kind: 'swapVolume', instance: instance.id, mode: rollout.swap, hold: false });
    else if (instance.weight === 0) actions.push({ kind: 'drain', instance: instance.id });
    else if (room > 0) {
      const gate = shut(rollout, hookGate('pre-cutover'));
      if (gate) return stand(gate);
      room -= 1;
      actions.push({ kind: 'drain', instance: instance.id });
    }
  }
  return actions.length > 0 ? act(...actions) : wait('the swaps under way');
}

/** The traffic of a stage, and its gate; without a stage, everything. */
function moveOn(
  stage: Stage | undefined,
  fresh: ObservedInstance[],
  old: ObservedInstance[],
  rollout: RolloutView,
): Decision {
  const share = stage?.share ?? 100;
  const first = share > 0 ? shut(rollout, hookGate('pre-cutover')) : undefined;
  if (first) return stand(first);
  const moved = distribution(share, fresh, old);
  if (moved) return act(moved);
  return stage ? stand(stage.gate) : wait('the traffic to move');
}

/** Into the table without a share: preview requests reach them, and a shift has something to shift to. */
function toTheTable(fresh: ObservedInstance[], rollout: RolloutView, now: number): Action[] {
  return fresh
    .filter((i) => !i.routed && i.acting === null && isFit(i, rollout, now))
    .map((i) => ({ kind: 'admit', instance: i.id, weight: 0 }));
}

function partOf(pool: number, { size }: { size: number }): number {
  return Math.min(pool, Math.max(1, Math.ceil((size * pool) / 100)));
}
