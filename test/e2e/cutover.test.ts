import { expect, it, onTestFinished } from 'vitest';
import { cutThereAndBack } from '../support/cli/cutover.ts';
import { takeDown } from '../support/cli/take-down.ts';
import { openWorkplace } from '../support/cli/workplace.ts';
import { failedOf } from '../support/http/load.ts';

it('all requests of 64 connections move to green when it is promoted, and back to blue, and none fails', async () => {
  const place = await openWorkplace();
  onTestFinished(() => takeDown(place));
  const { there, back, ledger } = await cutThereAndBack(place);
  expect({ failed: failedOf(ledger), failures: ledger.failures }).toEqual({ failed: 0, failures: [] });
  // seen: below 100 ms (bench/cutover.ts measures it)
  expect(Math.max(there.last, back.last)).toBeLessThan(1000);
});
