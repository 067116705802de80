import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { execa } from 'execa';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { takeDown } from '../support/cli/take-down.ts';
import { underLoad } from '../support/cli/under-load.ts';
import { openWorkplace, serving, type Workplace } from '../support/cli/workplace.ts';

const BUILD = fileURLToPath(new URL('../../examples/linux-unikernel/build', import.meta.url));

let place: Workplace;

/** The reference guest on a root disk of its own, holding one volume at a time: to the hypervisor it looks like Nanos. */
beforeAll(async () => {
  place = await openWorkplace();
  const disk = join(place.project, 'root.img');
  await execa(BUILD, ['disk', disk]);
  const fromDisk = { profile: 'nanos', kernel: undefined, initrd: undefined, disk, memory: '128M' };
  await place.configure({ guest: fromDisk, replicas: 1 });
});

afterAll(() => takeDown(place));

describe('the nanos profile', () => {
  it('boots from a root disk on a controller of its own, with the code volume beside it', async () => {
    expect(await place.cli(['up'])).toMatchObject({ exitCode: 0, stderr: '' });
    expect(serving(await place.status())).toEqual(['site-1-1 1 verified']);
  });

  it('takes a new volume in place of the old one while requests wait, and the root disk takes no harm', async () => {
    await place.publish('<h1>two</h1>\n');
    const [outcome, ledger] = await underLoad(place, () => place.cli(['rollout']));
    expect(outcome).toMatchObject({ exitCode: 0, stderr: '' });
    expect(outcome.stdout).toMatch(/swapped the volume of site-1-1, requests held/);
    expect(Object.keys(ledger.revisions)).toHaveLength(2);
    expect(serving(await place.status())).toEqual(['site-1-1 2 verified']);
  });
});
