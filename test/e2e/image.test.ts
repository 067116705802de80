import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { takeDown } from '../support/cli/take-down.ts';
import { underLoad } from '../support/cli/under-load.ts';
import { openWorkplace, serving, type Workplace } from '../support/cli/workplace.ts';

let place: Workplace;

beforeAll(async () => {
  place = await openWorkplace();
  expect(await place.cli(['up'])).toMatchObject({ exitCode: 0 });
});

afterAll(() => takeDown(place));

/** Long enough for a boot on a busy machine, and not much longer. */
const SHORT_DEADLINE = { deadline: '20s' };

describe('a fresh image', () => {
  it('is rolled out guest by guest, and no request fails', async () => {
    await place.configure({ guest: { cmdline: 'ud.control=1' } });
    const [outcome] = await underLoad(place, () => place.cli(['rollout']));
    expect(outcome).toMatchObject({ exitCode: 0, stderr: '' });
    expect(outcome.stdout).toContain('revision 1 → revision 2 on 2, rolling');
    expect(serving(await place.status())).toEqual(['site-2-1 2 verified', 'site-2-2 2 verified']);
  });

  it('that stops by itself right after it came up is rolled back, with the last lines of its console', async () => {
    await place.configure({ guest: { cmdline: 'ud.fault=panic-after:0' }, health: SHORT_DEADLINE });
    const [outcome] = await underLoad(place, () => place.cli(['rollout']));
    expect(outcome).toMatchObject({ exitCode: 3 });
    expect(outcome.stderr).toMatch(
      /^unideploy: UD_[A-Z_]+: rolled back, site serves revision 2 again after /,
    );
    expect(outcome.stderr).toMatch(/: site-3-\d [^\n]+\. Next: read its console: unideploy logs site-3-\d$/);
    expect(outcome.stdout).toMatch(/\n {2}site-3-\d console \| .*Kernel panic/);
    expect(serving(await place.status())).toEqual(['site-2-1 2 verified', 'site-2-2 2 verified']);
    expect((await place.cli(['logs', 'site-3-1'])).stdout).toContain('Kernel panic');
  });

  it('that never becomes healthy is rolled back when its deadline is over', async () => {
    await place.configure({ guest: { cmdline: 'ud.fault=never-healthy' }, health: SHORT_DEADLINE });
    const [outcome] = await underLoad(place, () => place.cli(['rollout', '--json']));
    expect(outcome).toMatchObject({ exitCode: 3, last: { result: 'rolled-back', revision: 2 } });
    expect(outcome.last.error?.message).toMatch(/^site-4-1 was not healthy within 20 s/);
    const turned = outcome.lines.find(({ event }) => event === 'rollback-started');
    expect(turned?.evidence).toMatchObject({
      instance: 'site-4-1',
      lastAnswer: expect.stringMatching(/^503 /),
    });
    expect(turned?.evidence?.console.join('\n')).toContain('ready on port 80');
    expect(serving(await place.status())).toEqual(['site-2-1 2 verified', 'site-2-2 2 verified']);
  });
});
