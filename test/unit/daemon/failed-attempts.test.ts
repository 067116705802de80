import { expect, test } from 'vitest';
import { FailedAttempts } from '../../../src/daemon/failed-attempts.ts';

const MINUTE = 60_000;

test('an address is shut out after ten failures within a minute, until that minute is over', () => {
  const failed = new FailedAttempts();
  for (let attempt = 0; attempt < 9; attempt++) failed.count('a', 1000);
  expect(failed.shutFor('a', 1000)).toBe(0);
  failed.count('a', 2000);
  expect(failed.shutFor('a', 2000)).toBe(MINUTE - 1000);
  expect(failed.shutFor('b', 2000)).toBe(0);
  expect(failed.shutFor('a', 1000 + MINUTE)).toBe(0);
});

test('failures that lie far apart are forgotten', () => {
  const failed = new FailedAttempts();
  for (let attempt = 0; attempt < 30; attempt++) failed.count('a', attempt * MINUTE);
  expect(failed.shutFor('a', 30 * MINUTE)).toBe(0);
});

test('many addresses fill no memory, and the one that goes on failing is not forgotten', () => {
  const failed = new FailedAttempts();
  for (let other = 0; other < 25_000; other++) {
    failed.count(`other-${other}`, 0);
    if (other % 5000 === 0) for (let attempt = 0; attempt < 10; attempt++) failed.count('a', 0);
  }
  expect(failed.shutFor('a', 0)).toBe(MINUTE);
  expect(failed.shutFor('other-0', 0)).toBe(0);
});
