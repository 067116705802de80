import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { JournalEntry } from '../../src/domain/journal.ts';
import type { Cause } from '../../src/domain/supervision.ts';
import { misbehave } from '../support/cli/misbehave.ts';
import { end, isAlive } from '../support/cli/processes.ts';
import { prepare } from '../support/cli/revisions.ts';
import { running } from '../support/cli/running.ts';
import { historyOf, serves } from '../support/cli/story.ts';
import { takeDown } from '../support/cli/take-down.ts';
import { counted } from '../support/cli/under-load.ts';
import type { Workplace } from '../support/cli/workplace.ts';
import { failedOf } from '../support/http/load.ts';
import { eventually } from '../support/qemu/asking.ts';

type SickEntry = Extract<JournalEntry, { event: 'sick' }>;

const INTERVAL = 1000;
const HEALTH = { interval: `${INTERVAL}ms`, timeout: '500ms' };
const LIMITS = { repairs: 100, backoff: '0s' };

let place: Workplace;

beforeAll(async () => {
  place = await running('v1');
  await policy({ limits: LIMITS });
});

afterAll(() => takeDown(place));

/** Changes how the service is supervised, and nothing else. */
async function policy(supervision: Record<string, unknown>): Promise<void> {
  await prepare(place, 'v1', { health: HEALTH, supervision });
  const { exitCode, stderr } = await place.cli(['up']);
  expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: '' });
}

describe('a guest that goes wrong is found within three intervals, and replaced, and no other request fails', () => {
  it.each<[string, Cause, (instance: string) => Promise<void>]>([
    ['its QEMU is killed', 'dead', kill],
    ['it panics', 'panicked', (instance) => misbehave(place, instance, 'panic-after:0')],
    ['its health path answers 503', 'erring', (instance) => misbehave(place, instance, 'never-healthy')],
    ['it hangs, its port open', 'hung', (instance) => misbehave(place, instance, 'hang-after:0')],
    ['it takes all memory at once', 'starved', (instance) => misbehave(place, instance, 'oom-after:0')],
    ['it powers itself off', 'stopped', (instance) => misbehave(place, instance, 'dies-after:0')],
  ])('%s', async (_what, cause, befall) => {
    const { sick, ledger, inFlight, began } = await repaired(befall);
    expect(sick.cause).toBe(cause);
    expect(sick.at - began).toBeLessThanOrEqual(3 * INTERVAL);
    expect(failedOf(ledger), JSON.stringify(ledger.failures)).toBeLessThanOrEqual(inFlight);
  });

  it('it leaks: it is switched out while it still answers', async () => {
    const { sick, ledger } = await repaired((instance) => misbehave(place, instance, 'leak:1500'), 60_000);
    expect(sick).toMatchObject({ cause: 'starved', sentence: expect.stringContaining('is losing') });
    expect(sick.evidence?.lastAnswer).toMatch(/^200/);
    expect(failedOf(ledger), JSON.stringify(ledger.failures)).toBe(0);
  });
});

it('a person is not locked out by a repair: their rollout takes over from it', async () => {
  await kill(await anyInstance());
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
  await kill(await anyInstance());
  await eventually('a repair is under way', async () => (await place.status()).open?.kind === 'repair');
  end(await place.controllerPid(), 'SIGKILL');
  await eventually('nobody answers', async () => (await place.status().catch(() => null)) === null);
  await place.serve();
  await eventually('the pool is whole', whole, 60_000);
  await serves(place, 1);
});

it('a guest that is to be frozen is kept as it stands, in no pool, until everything is restarted', async () => {
  await policy({ limits: LIMITS, treatments: { hung: 'freeze' }, dump: '96M' });
  const victim = await anyInstance();
  const pid = (await place.guestPids())[victim] ?? 0;
  const hang = (instance: string) => misbehave(place, instance, 'hang-after:0');
  const { sick, ledger, inFlight } = await repaired(hang, 30_000, victim);
  expect(failedOf(ledger), JSON.stringify(ledger.failures)).toBeLessThanOrEqual(inFlight);
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
  await repaired(kill);
  await kill(await anyInstance());
  await eventually('it is given up', async () => (await place.status()).gaveUp !== null);
  const { stdout } = await place.cli(['status']);
  expect(stdout).toContain('repaired no more: repaired once within 10 min, and sick again');
  expect(stdout).toContain('unideploy restart');
  expect((await place.cli(['restart'])).exitCode).toBe(0);
  expect((await place.status()).gaveUp).toBeNull();
  await serves(place, 1);
});

/** Has one guest go wrong under load, and waits until another one serves in its place. */
async function repaired(befall: (instance: string) => Promise<void>, deadlineMs = 30_000, instance?: string) {
  const victim = instance ?? (await anyInstance());
  let began = 0;
  let inFlight = 0;
  const [, ledger] = await counted(place, async () => {
    began = Date.now();
    await befall(victim);
    const isGone = async () => {
      const { instances } = await place.status();
      const found = instances.find(({ id }) => id === victim);
      inFlight = Math.max(inFlight, found?.inFlight ?? 0);
      return found === undefined && (await whole());
    };
    await eventually(`${victim} is replaced`, isGone, deadlineMs);
  });
  const entries = (await place.cli(['audit', '--json'])).lines as JournalEntry[];
  const sick = entries.find((each): each is SickEntry => each.event === 'sick' && each.instance === victim);
  if (!sick) throw new Error(`nothing is said of ${victim}`);
  return { sick, ledger, inFlight, began };
}

async function whole(): Promise<boolean> {
  const { instances, open } = await place.status();
  const serving = instances.filter((i) => i.weight > 0 && i.verified && i.health === 'healthy' && i.usable);
  return open === null && instances.length === 2 && serving.length === 2;
}

async function anyInstance(): Promise<string> {
  const { instances } = await place.status();
  const found = instances.find(({ weight }) => weight > 0);
  if (!found) throw new Error('nothing serves');
  return found.id;
}

async function kill(instance: string): Promise<void> {
  end((await place.guestPids())[instance] ?? 0, 'SIGKILL');
}
