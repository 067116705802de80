import type { Rollout } from './rollout.ts';

/** How often a service may be repaired before a person has to look. Times in milliseconds. */
export interface Limits {
  /** repairs that may begin within `window` */
  repairs: number;
  window: number;
  /** between the end of a repair and the next one; doubled with each that came before it within the window */
  backoff: number;
}

/** Why nothing is repaired any more, until a person has begun a rollout. */
export interface GaveUp {
  /** epoch milliseconds */
  at: number;
  why: string;
}

/** Whether a service may be repaired now. */
export type Leave = { kind: 'go' } | { kind: 'wait'; until: number } | { kind: 'stop'; why: string };

type Past = Pick<Rollout, 'kind' | 'startedAt' | 'endedAt'>;

const LONGEST_BACKOFF = 300_000;

/**
 * What the repairs of the past leave room for. What a person has begun since forgives all that was before: they have looked.
 *
 * @param rollouts of the service, newest first: at least as many as the limit, if there are
 */
export function leaveTo(rollouts: readonly Past[], { repairs, window, backoff }: Limits, now: number): Leave {
  const since = rollouts.findIndex(({ kind }) => kind !== 'repair');
  const recent = rollouts
    .slice(0, since < 0 ? rollouts.length : since)
    .filter(({ startedAt }) => startedAt > now - window);
  const [last] = recent;
  if (!last) return { kind: 'go' };
  if (recent.length >= repairs)
    return { kind: 'stop', why: `repaired ${times(recent.length)} within ${words(window)}, and sick again` };
  const until = (last.endedAt ?? now) + Math.min(LONGEST_BACKOFF, backoff * 2 ** (recent.length - 1));
  return now < until ? { kind: 'wait', until } : { kind: 'go' };
}

function times(count: number): string {
  return count === 1 ? 'once' : `${count} times`;
}

function words(ms: number): string {
  return ms % 60_000 === 0 ? `${ms / 60_000} min` : `${ms / 1000} s`;
}
