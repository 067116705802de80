import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Cause } from '../../src/domain/supervision.ts';
import { anyInstance, kill, noOtherFailed, repaired, whole } from '../support/cli/going-wrong.ts';
import { misbehave } from '../support/cli/misbehave.ts';
import { end, isAlive } from '../support/cli/processes.ts';
import { prepare } from '../support/cli/revisions.ts';
import { running } from '../support/cli/running.ts';
import { historyOf, serves } from '../support/cli/story.ts';
import { takeDown } from '../support/cli/take-down.ts';
import type { Workplace } from '../support/cli/workplace.ts';
import { failedOf } from '../support/http/load.ts';
import { eventually } from '../support/qemu/asking.ts';

const INTERVAL = 1000;
const HEALTH = { interval: `${INTERVAL}ms`, timeout: '500ms' };
const LIMITS = { repairs: 100, backoff: '0s' };

let place: Workplace;

beforeAll(async () => {
  place = await running('v1');
  await policy({ limits: LIMITS });
});

afterAll(() => takeDown(place));

const killIt = (instance: string) => kill(place, instance);

/** Changes how the service is supervised, and nothing else. */
async function policy(supervision: Record<string, unknown>): Promise<void> {
  await prepare(place, 'v1', { health: HEALTH, supervision });
  const { exitCode, stderr } = await place.cli(['up']);
  expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: '' });
}

describe('a guest that goes wrong is found within three intervals, and replaced, and no other request fails', () => {
  it.each<[string, Cause, (instance: string) => Promise<void>]>([
    ['its QEMU is killed', 'dead', killIt],
    ['it panics', 'panicked', (instance) => misbehave(place, instance, 'panic-after:0')],
    ['its health path answers 503', 'erring', (instance) => misbehave(place, instance, 'never-healthy')],
    ['it hangs, its port open', 'hung', (instance) => misbehave(place, instance, 'hang-after:0')],
    ['it takes all memory at once', 'starved', (instance) => misbehave(place, instance, 'oom-after:0')],
    ['it powers itself off', 'stopped', (instance) => misbehave(place, instance, 'dies-after:0')],
  ])('%s', async (_what, cause, befall) => {
    const told = await repaired(place, befall);
    expect(told.sick.cause).toBe(cause);
    expect(told.sick.at - told.began).toBeLessThanOrEqual(3 * INTERVAL);
    noOtherFailed(told);
  });

  it('it answers clients with errors, and its health path well', async () => {
    const errs = (instance: string) => misbehave(place, instance, 'errors:100');
    const { sick, began, ledger } = await repaired(place, errs);
    expect(sick).toMatchObject({ cause: 'erring', sentence: expect.stringContaining('the others 0 of') });
    const found = sick.at - began;
    expect(found).toBeLessThanOrEqual(3 * INTERVAL);
    expect(failedOf(ledger)).toBe(ledger.failed.status);
    expect(ledger.failed.status).toBeLessThanOrEqual(sentUntil(found));
  });

  it('it leaks: it is switched out while it still answers', async () => {
    const { sick, ledger } = await repaired(
      place,
      (instance) => misbehave(place, instance, 'leak:1500'),
      60_000,
    );
    expect(sick).toMatchObject({ cause: 'starved', sentence: expect.stringContaining('is losing') });
    expect(sick.evidence?.lastAnswer).toMatch(/^200/);
    expect(failedOf(ledger), JSON.stringify(ledger.failures)).toBe(0);
  });
});

it('a person is not locked out by a repair: their rollout takes over from it', async () => {
  await kill(place, await anyInstance(place));
  await eventually('a repair is under way', async () => (await place.status()).open?.kind === 'repair');
  const { exitCode, stderr } = await place.cli(['restart']);
  expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: '' });
  expect((await historyOf(place)).rollouts.slice(0, 2)).toMatchObject([
    { kind: 'restart', state: 'succeeded' },
    { kind: 'repair', state: 'superseded' },
  ]);
  await serves(place, 1);
});

it('a controller that is killed in the midst of a repair leaves it to the next one', async () => {
  await kill(place, await anyInstance(place));
  await eventually('a repair is under way', async () => (await place.status()).open?.kind === 'repair');
  end(await place.controllerPid(), 'SIGKILL');
  await eventually('nobody answers', async () => (await place.status().catch(() => null)) === null);
  await place.serve();
  await eventually('the pool is whole', () => whole(place), 60_000);
  await serves(place, 1);
});

it('a guest that is to be frozen is kept as it stands, in no pool, until everything is restarted', async () => {
  await policy({ limits: LIMITS, treatments: { hung: 'freeze' }, dump: '96M' });
  const victim = await anyInstance(place);
  const pid = (await place.guestPids())[victim] ?? 0;
  const hang = (instance: string) => misbehave(place, instance, 'hang-after:0');
  const told = await repaired(place, hang, 30_000, victim);
  noOtherFailed(told);
  const { sick, ledger } = told;
  expect(ledger.latency.max).toBeLessThan(30_000);
  expect(sick).toMatchObject({ treatment: 'freeze', dump: expect.stringContaining(`${victim}.elf`) });
  expect((await place.status()).frozen).toEqual([victim]);
  expect(isAlive(pid)).toBe(true);
  expect((await place.cli(['status'])).stdout).toContain(`${victim} is frozen`);
  expect((await place.cli(['restart'])).exitCode).toBe(0);
  expect((await place.status()).frozen).toEqual([]);
  expect(isAlive(pid)).toBe(false);
  await serves(place, 1);
});

it('who dies again and again is replaced no more, and a person who restarts the service is forgiven', async () => {
  await policy({ limits: { repairs: 1, backoff: '0s' } });
  await repaired(place, killIt);
  await kill(place, await anyInstance(place));
  await eventually('it is given up', async () => (await place.status()).gaveUp !== null);
  const { stdout } = await place.cli(['status']);
  expect(stdout).toContain('repaired no more: repaired once within 10 min, and sick again');
  expect(stdout).toContain('unideploy restart');
  expect((await place.cli(['restart'])).exitCode).toBe(0);
  expect((await place.status()).gaveUp).toBeNull();
  await serves(place, 1);
});

it('the only guest of a pool dies: from when that is found requests wait until the next one serves', async () => {
  await policy({ limits: LIMITS });
  expect((await place.cli(['scale', '1'])).exitCode).toBe(0);
  const { sick, began, ledger } = await repaired(place, killIt);
  expect(failedOf(ledger), JSON.stringify(ledger.failures)).toBeLessThanOrEqual(sentUntil(sick.at - began));
  await serves(place, 1, 1);
});

/** Of a load of 40 requests a second: those of so many milliseconds, and those that were under way on its 8 connections. */
function sentUntil(ms: number): number {
  return 0.04 * ms + 8;
}
