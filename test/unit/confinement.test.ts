import { describe, expect, test } from 'vitest';
import { confined, findUsers, rangeIn, userFor } from '../../src/confinement.ts';

const LIMITS = { addressSpace: 1000, fileSize: 2000, openFiles: 30 };

describe('a confined program', () => {
  test('is the last of the words, behind its limits and its user', () => {
    const words = confined(['qemu', '-x'], { user: { uid: 7, groups: [] }, limits: LIMITS });
    expect(words).toEqual([
      ...['env', '--ignore-signal=XFSZ', 'prlimit', '--as=1000', '--fsize=2000', '--nofile=30', '--core=0'],
      ...['--', 'setpriv', '--no-new-privs', '--reuid=7', '--regid=7', '--clear-groups'],
      ...['--inh-caps=-all', '--bounding-set=-all', '--', 'qemu', '-x'],
    ]);
  });

  test('keeps the group of KVM, and has a limit of time where it is told', () => {
    const limits = { ...LIMITS, cpuSeconds: 5 };
    const words = confined(['qemu'], { user: { uid: 7, groups: [104] }, limits });
    expect(words).toContain('--groups=104');
    expect(words).toContain('--cpu=5');
  });

  test('gains no privileges where there is no other user, either', () => {
    const words = confined(['qemu'], { user: null, limits: LIMITS });
    expect(words.slice(-4)).toEqual(['setpriv', '--no-new-privs', '--', 'qemu']);
  });
});

describe('users', () => {
  test('one machine has the same one each time, and two machines have two', () => {
    const users = { first: 1_000_000, count: 268_000_000, groups: [] };
    const uid = (key: string) => userFor(users, key)?.uid;
    expect(uid('/state/run/site-1-1')).toBe(uid('/state/run/site-1-1'));
    const all = Array.from({ length: 200 }, (_, index) => uid(`/state/run/site-1-${index}`));
    expect(new Set(all).size).toBe(200);
    expect(Math.min(...all.map((one) => one ?? 0))).toBeGreaterThanOrEqual(1_000_000);
  });

  test('are those that nobody has, as far as the namespace has them', () => {
    expect(rangeIn('         0          0 4294967295\n')?.first).toBe(1_879_048_192);
    expect(rangeIn('0 100000 65536\n')).toEqual({ first: 61_184, count: 4_336 });
    expect(rangeIn('0 1000 1\n')).toBe(null);
  });

  test('a range that is none is refused: guests must not run as root by a slip of the pen', async () => {
    expect(await findUsers('off')).toEqual({ why: expect.any(String) });
    for (const range of ['', '5', '0-10', '10-5', 'nobody', '1-2; id'])
      await expect(findUsers(range)).rejects.toMatchObject({ code: 'UD_USAGE' });
  });
});
