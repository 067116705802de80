import { describe, expect, it } from 'vitest';
import { LEASE, leaseState, nextToken } from '../../../src/domain/lease.ts';

const RENEWED_AT = 1_000_000;
const lease = { token: 7, until: RENEWED_AT + LEASE.duration };
const silentFor = (silent: number, gone: boolean | null = false) =>
  leaseState(lease, RENEWED_AT + silent, gone);

describe('a lease', () => {
  it('is held by a controller that renews it, and that may be late once', () => {
    expect(silentFor(0)).toBe('held');
    expect(silentFor(LEASE.renewEvery + 1)).toBe('held');
  });

  it('is in doubt when renewals are missing, and free when its time is over', () => {
    expect(silentFor(2 * LEASE.renewEvery)).toBe('doubtful');
    expect(silentFor(LEASE.duration - 1)).toBe('doubtful');
    expect(silentFor(LEASE.duration)).toBe('free');
  });

  it('is free at once when its holder has ended', () => {
    expect(silentFor(0, true)).toBe('free');
  });

  it('goes by its time alone where nobody can tell whether the holder lives', () => {
    expect(silentFor(0, null)).toBe('held');
    expect(silentFor(LEASE.duration, null)).toBe('free');
  });

  it('that was given back is free', () => {
    expect(leaseState({ token: 7, until: 0 }, 1, false)).toBe('free');
  });

  it('leaves room for some renewals that fail', () => {
    expect(LEASE.duration).toBeGreaterThanOrEqual(4 * LEASE.renewEvery);
  });
});

describe('a token', () => {
  it('is one more than the last, whatever the time is', () => {
    expect(nextToken(lease, 0)).toBe(8);
  });

  it('is above all that came before, although the leases were lost', () => {
    const now = Date.UTC(2030, 0, 1);
    let last = nextToken(null, now - 60_000);
    for (let takeover = 0; takeover < 5; takeover++) last = nextToken({ ...lease, token: last }, now);
    expect(nextToken(null, now)).toBeGreaterThan(last);
  });
});
