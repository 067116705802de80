/** All in milliseconds. */
export const LEASE = {
  /** without a renewal for so long, another controller may take the state over */
  duration: 10_000,
  renewEvery: 2_000,
} as const;

/** What a controller has written of itself where others look. */
export interface Lease {
  token: number;
  /** on a clock that all processes of the machine share, that nobody sets, and that goes on while a process is stopped */
  until: number;
}

/**
 * Whether a newcomer may have the state: `held` by a controller that has just renewed; `doubtful`, as its renewal is
 * overdue but the time not over; `free`, since it has ended or was silent for too long. A holder that is not gone, only
 * late, may renew in every case as long as nobody came.
 */
export type LeaseState = 'held' | 'doubtful' | 'free';

/** @param gone whether the holder's process is known to have ended; null: it cannot be told */
export function leaseState({ until }: Lease, now: number, gone: boolean | null): LeaseState {
  if (gone === true || now >= until) return 'free';
  // One renewal may be late, on a busy machine: two are a sign.
  const silent = now - (until - LEASE.duration);
  return silent < 2 * LEASE.renewEvery ? 'held' : 'doubtful';
}

/**
 * The token of the next holder. The first is the time, so that it is above all tokens that were given out before a lease
 * was lost with its folder.
 *
 * @param now epoch milliseconds
 */
export function nextToken(last: Lease | null, now: number): number {
  return last === null ? Math.max(1, Math.floor(now / 1000)) : last.token + 1;
}
