import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { kill, noOtherFailed, repaired } from '../support/cli/going-wrong.ts';
import { misbehave } from '../support/cli/misbehave.ts';
import { takeDown } from '../support/cli/take-down.ts';
import { underLoad } from '../support/cli/under-load.ts';
import { openWorkplace, serving, type Workplace } from '../support/cli/workplace.ts';

let place: Workplace;

beforeAll(async () => {
  place = await openWorkplace();
  await place.configure();
  expect(await place.cli(['up', '--proxy', 'haproxy'])).toMatchObject({ exitCode: 0, stderr: '' });
});

afterAll(() => takeDown(place));

describe('a pool behind HAProxy', () => {
  it('takes a new volume, and no request fails', async () => {
    await place.publish('<h1>two</h1>\n');
    const [outcome] = await underLoad(place, () => place.cli(['rollout']));
    expect(outcome).toMatchObject({ exitCode: 0, stderr: '' });
    expect(serving(await place.status())).toEqual(['site-1-1 2 verified', 'site-1-2 2 verified']);
  });

  it('is replaced guest by guest, and no request fails', async () => {
    await place.configure({ guest: { cmdline: 'ud.control=1' } });
    const [outcome] = await underLoad(place, () => place.cli(['rollout']));
    expect(outcome).toMatchObject({ exitCode: 0, stderr: '' });
    expect(serving(await place.status())).toEqual(['site-3-1 3 verified', 'site-3-2 3 verified']);
  });

  it.each<[string, (instance: string) => Promise<void>]>([
    ['hangs', (instance) => misbehave(place, instance, 'hang-after:0')],
    ['is killed', (instance) => kill(place, instance)],
  ])('has a guest replaced that %s, and no other request fails', async (_what, befall) => {
    noOtherFailed(await repaired(place, befall, 60_000));
  });
});
