import type { OrderEntry } from './journal.ts';
import type { Rollout } from './rollout.ts';

/** The rollout after somebody's order. */
export function obey(rollout: Rollout, { event, by, at, seq, ...order }: OrderEntry): Rollout {
  const heard = { ...rollout, heard: seq };
  if (event === 'paused') return { ...heard, paused: { by, at } };
  if (event === 'resumed') return resumed(heard, at);
  const { how } = order as Extract<OrderEntry, { event: 'ordered' }>;
  if (how === 'promote' || (how === 'abort' && rollout.direction === 'back')) return heard;
  if (how === 'promote-full') return { ...heard, full: true };
  return { ...heard, paused: null, ending: { by, at, how } };
}

/** What stood still while it was paused waits as much longer at its gates: nobody could promote it, and nobody looked on. */
function resumed(rollout: Rollout, at: number): Rollout {
  const { paused } = rollout;
  const still = paused ? at - paused.at : 0;
  const later = Object.entries(rollout.gates).map(([key, state]) => [
    key,
    state.passedAt === null ? { ...state, reachedAt: state.reachedAt + still } : state,
  ]);
  return { ...rollout, paused: null, gates: Object.fromEntries(later) };
}
