import { createHash } from 'node:crypto';
import { readdir, readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { request } from 'undici';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { takeDown } from '../support/cli/take-down.ts';
import { underLoad } from '../support/cli/under-load.ts';
import { type Outcome, openWorkplace, serving, type Workplace } from '../support/cli/workplace.ts';

const GUESTS = 8;
const FILES = ['index.html', 'data.bin'];

let place: Workplace;

beforeAll(async () => {
  place = await openWorkplace();
  await place.configure({
    replicas: GUESTS,
    guest: { wake: '/.unideploy/wake' },
    health: { deadline: '60s' },
  });
  await publish('one', 1);
  expect(await place.cli(['up'])).toMatchObject({ exitCode: 0 });
});

afterAll(() => takeDown(place));

async function publish(name: string, fill: number): Promise<void> {
  await place.publish(`<h1>${name}</h1>\n`);
  await writeFile(join(place.project, 'public', 'data.bin'), Buffer.alloc(50_000, fill));
}

/** How many guests were swapped, in the order of the entries that say so. */
const swapped = ({ lines }: Outcome) =>
  lines.filter((line) => JSON.stringify(line).includes('action-finished","action":{"kind":"swapVolume"'));

async function sourceDigests(): Promise<string[]> {
  return await Promise.all(
    FILES.map(async (name) => digest(await readFile(join(place.project, 'public', name)))),
  );
}

/** What every guest answers with by itself, past the data plane. */
async function answeredDigests(): Promise<string[][]> {
  const { instances } = await place.status();
  return await Promise.all(
    instances.map(async ({ endpoint }) => {
      const found: string[] = [];
      for (const name of FILES) {
        const { body } = await request(`http://${endpoint?.host}:${endpoint?.port}/${name}`);
        found.push(digest(Buffer.from(await body.arrayBuffer())));
      }
      return found;
    }),
  );
}

function digest(bytes: Buffer): string {
  return createHash('sha256').update(bytes).digest('hex');
}

const all = <T>(each: T): T[] => Array.from({ length: GUESTS }, () => each);

it(`${GUESTS} copies of a template get new code under load and go back to the exact bytes of the old one`, async () => {
  const guests = await place.guestPids();
  const old = await sourceDigests();
  await publish('two', 2);
  const fresh = await sourceDigests();
  const [there] = await underLoad(place, () => place.cli(['rollout', '--json']));
  expect(there).toMatchObject({ exitCode: 0, stderr: '' });
  expect(swapped(there)).toHaveLength(GUESTS);
  expect(await answeredDigests()).toEqual(all(fresh));

  // One file of the store for all of them: the volume's bytes are there once, however many have it.
  const volumes = await lentFiles();
  expect(new Set(volumes).size).toBe(3);

  const [back] = await underLoad(place, () => place.cli(['rollback', '--json']));
  expect(back).toMatchObject({ exitCode: 0, stderr: '' });
  expect(swapped(back)).toHaveLength(GUESTS);
  expect(await answeredDigests()).toEqual(all(old));
  expect(serving(await place.status())).toEqual(
    Object.keys(guests)
      .map((id) => `${id} 1 verified`)
      .sort(),
  );
  expect(await place.guestPids()).toEqual(guests);
});

/** Inodes of what the guests were lent: kernel, initrd and volume. */
async function lentFiles(): Promise<number[]> {
  const inodes: number[] = [];
  for (const id of Object.keys(await place.guestPids())) {
    const folder = join(place.state, 'run', id, 'artifacts');
    for (const name of await readdir(folder)) inodes.push((await stat(join(folder, name))).ino);
  }
  return inodes;
}
