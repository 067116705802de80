import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { takeDown } from '../support/cli/take-down.ts';
import { underLoad } from '../support/cli/under-load.ts';
import { openWorkplace, serving, type Workplace } from '../support/cli/workplace.ts';

/** A guest that refuses a second volume while it has one, as Nanos does. */
const ONE_AT_A_TIME = { cmdline: 'ud.mount=single', swap: 'replace' };
const SWAPS = 10;

let place: Workplace;

beforeAll(async () => {
  place = await openWorkplace();
  await place.configure({ guest: ONE_AT_A_TIME });
  expect(await place.cli(['up'])).toMatchObject({ exitCode: 0 });
});

afterAll(() => takeDown(place));

describe('guests that hold one volume at a time', () => {
  it('are swapped one after the other, each out of traffic, and no request fails', async () => {
    await place.publish('<h1>two</h1>\n');
    const [outcome] = await underLoad(place, () => place.cli(['rollout']));
    expect(outcome).toMatchObject({ exitCode: 0, stderr: '' });
    const steps = outcome.stdout.matchAll(/(?:drained|swapped the volume of|admitted) site-1-\d/g);
    const one = (id: string) => [`drained ${id}`, `swapped the volume of ${id}`, `admitted ${id}`];
    expect([...steps].flat()).toEqual([...one('site-1-1'), ...one('site-1-2')]);
    expect(serving(await place.status())).toEqual(['site-1-1 2 verified', 'site-1-2 2 verified']);
  });

  it(`are swapped ${SWAPS} times in a row while requests wait, where there is but one, and none fails`, async () => {
    expect(await place.cli(['scale', '1'])).toMatchObject({ exitCode: 0 });
    await place.configure({ guest: ONE_AT_A_TIME, replicas: 1 });
    const [, ledger] = await underLoad(place, async () => {
      for (let n = 1; n <= SWAPS; n++) {
        await place.publish(`<h1>swap ${n}</h1>\n`);
        const outcome = await place.cli(['rollout']);
        expect(outcome).toMatchObject({ exitCode: 0, stderr: '' });
        expect(outcome.stdout).toMatch(/swapped the volume of site-1-\d, requests held/);
      }
    });
    expect(Object.keys(ledger.revisions)).toHaveLength(SWAPS + 1);
    expect(serving(await place.status())).toEqual([expect.stringMatching(/^site-1-\d 12 verified$/)]);
  });
});
