import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { embeddedDataPlane } from '../../src/proxy/embedded/client.ts';
import { isAlive } from '../support/cli/processes.ts';
import { takeDown } from '../support/cli/take-down.ts';
import { underLoad } from '../support/cli/under-load.ts';
import { type Outcome, openWorkplace, serving, type Workplace } from '../support/cli/workplace.ts';
import { eventually } from '../support/qemu/asking.ts';

let place: Workplace;
/** Every answer takes its time, checks included: there are moments to hit in the middle of a swap. */
const SLOW = 'ud.fault=slow:200';
/** of the image that runs */
let guest = {};

beforeAll(async () => {
  place = await openWorkplace();
  expect(await place.cli(['up'])).toMatchObject({ exitCode: 0 });
});

afterAll(() => takeDown(place));

/**
 * Starts a rollout, ends the controller at a moment of it, sees that nothing else has ended, and starts another one.
 * @returns how the rollout's own command ended, which knows nothing of all this
 */
async function interrupt(
  signal: 'SIGKILL' | 'SIGTERM',
  moment: (said: string) => boolean | Promise<boolean>,
): Promise<Outcome> {
  const controller = await place.controllerPid();
  const dataPlane = await place.dataPlanePid();
  const rollout = place.start(['rollout']);
  await eventually('the moment has come', () => moment(rollout.said()), 60_000, 1);
  process.kill(controller, signal);
  await eventually('the controller has ended', () => !isAlive(controller));
  const guests = await place.guestPids();
  expect(isAlive(dataPlane)).toBe(true);
  expect(Object.entries(guests).filter(([, pid]) => !isAlive(pid))).toEqual([]);

  const next = await place.serve();
  const outcome = await rollout.outcome;
  expect(outcome.stdout).toContain(`taken over by controller ${next.pid}`);
  expect(await place.dataPlanePid()).toBe(dataPlane);
  return outcome;
}

/** Every guest that runs is in the status, and every one in the status runs. */
async function nothingOrphaned(): Promise<void> {
  const guests = await place.guestPids();
  const { instances, open } = await place.status();
  expect(open).toBeNull();
  expect(instances.map(({ id }) => id).sort()).toEqual(Object.keys(guests));
  const machines = place.processes().filter(({ words }) => words[0]?.includes('qemu-system'));
  expect(machines.map(({ pid }) => pid).sort()).toEqual(Object.values(guests).sort());
}

const word = (text: string) => (said: string) => said.includes(text);

describe('a controller that ends in the middle of a rolling rollout', () => {
  it.each([
    ['begun', 'SIGKILL', 'rollout '],
    ['a new guest has been launched', 'SIGKILL', 'launched '],
    ['a new guest has been admitted', 'SIGKILL', 'admitted '],
    ['an old guest has been drained, and by SIGTERM', 'SIGTERM', 'drained '],
  ] as const)('loses no request, and the next one finishes it: %s', async (_name, signal, moment) => {
    const revision = ((await place.status()).goal.revision ?? 0) + 1;
    guest = { cmdline: `${SLOW} test.round=${revision}` };
    await place.configure({ guest });
    const [outcome] = await underLoad(place, () => interrupt(signal, word(moment)));
    expect(outcome).toMatchObject({ exitCode: 0, stderr: '' });
    expect(outcome.stdout).toContain('the controller went away; waiting for it to come back');
    expect(serving(await place.status()).map((each) => each.replace(/^\S+ /, ''))).toEqual(
      Array(2).fill(`${revision} verified`),
    );
    await nothingOrphaned();
  });
});

describe('a controller that is killed in the middle of a volume swap', () => {
  it.each([
    ['as it begins', 'rollout '],
    ['when one guest is through', 'swapped the volume of '],
  ])('loses no request, and the next one finishes it: %s', async (_name, moment) => {
    const revision = ((await place.status()).goal.revision ?? 0) + 1;
    await place.configure({ guest, rollout: { parallel: 1 } });
    await place.publish(`<h1>revision ${revision}</h1>\n`);
    const [outcome] = await underLoad(place, () => interrupt('SIGKILL', word(moment)));
    expect(outcome).toMatchObject({ exitCode: 0, stderr: '' });
    expect(serving(await place.status()).map((each) => each.replace(/^\S+ /, ''))).toEqual(
      Array(2).fill(`${revision} verified`),
    );
    await nothingOrphaned();
  });

  it('loses no request either that waited for the only guest', async () => {
    await place.configure({ guest: { cmdline: `${SLOW} ud.mount=single`, swap: 'replace' }, replicas: 1 });
    expect(await place.cli(['rollout'])).toMatchObject({ exitCode: 0 });
    const dataPlane = embeddedDataPlane({ state: place.state });
    const table = async () => (await dataPlane.status())[0];
    const moments = {
      'they begin to wait': async () => (await table())?.hold === true,
      'nothing is in flight': async () => {
        const { hold, routes } = (await table()) ?? { hold: false, routes: [] };
        return hold && routes.every(({ inFlight }) => inFlight === 0);
      },
    };
    for (const [name, moment] of Object.entries(moments)) {
      await place.publish(`<h1>${name}</h1>\n`);
      const [outcome] = await underLoad(place, () => interrupt('SIGKILL', moment));
      expect(outcome).toMatchObject({ exitCode: 0, stderr: '' });
      expect(serving(await place.status())).toEqual([expect.stringMatching(/ verified$/)]);
      expect(await table()).toMatchObject({ hold: false, held: 0 });
      await nothingOrphaned();
    }
  });
});
