import type { OrderEntry } from './journal.ts';
import type { Rollout } from './rollout.ts';

/** The rollout after somebody's order. */
export function obey(rollout: Rollout, { event, by, at, seq, ...order }: OrderEntry): Rollout {
  const heard = { ...rollout, heard: seq };
  if (event === 'paused') return { ...heard, paused: { by, at } };
  if (event === 'resumed') return { ...heard, paused: null };
  const { how } = order as Extract<OrderEntry, { event: 'ordered' }>;
  if (how === 'promote' || (how === 'abort' && rollout.direction === 'back')) return heard;
  if (how === 'promote-full') return { ...heard, full: true };
  return { ...heard, paused: null, ending: { by, at, how } };
}
