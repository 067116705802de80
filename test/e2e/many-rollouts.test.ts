import { statSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Collected } from '../../src/daemon/messages.ts';
import { spoil } from '../support/cli/artifacts.ts';
import { bytesIn, filesIn, type Holding, holding } from '../support/cli/holding.ts';
import { refusal } from '../support/cli/refusal.ts';
import { everything, historyOf } from '../support/cli/story.ts';
import { takeDown } from '../support/cli/take-down.ts';
import { underLoad } from '../support/cli/under-load.ts';
import { openWorkplace, serving, type Workplace } from '../support/cli/workplace.ts';

const FIRST = 5;
const MORE = 50;
const KEEP = 3;
/** Of disk, for what is remembered of a rollout for good: its journal, its records, its revision. Bytes. */
const REMEMBERED = 32 << 10;
/** SQLite writes its log into the database when it has a thousand pages. Bytes. */
const LONGEST_WAL = 6 << 20;

let place: Workplace;
let revision = 1;

beforeAll(async () => {
  place = await openWorkplace();
  await place.configure({ replicas: 2, rollout: { keep: KEEP } });
  expect(await place.cli(['up'])).toMatchObject({ exitCode: 0, stderr: '' });
});

afterAll(() => takeDown(place));

describe(`${MORE} rollouts in a row`, () => {
  it('leave no chain, no open node or file, and of the disk only what is remembered of them', {
    timeout: 500_000,
  }, async () => {
    await rollOut(FIRST);
    const [before, disk] = [await holding(place), besideArtifacts()];
    await underLoad(place, () => rollOut(MORE), '/', 20);
    const after = await holding(place);
    expect(after).toMatchObject({ nodes: before.nodes, depth: before.depth, runFiles: before.runFiles });
    expect(before.depth).toBe(0);
    const most = { guestFiles: 4, controllerFiles: 4, sockets: MORE / 2 } satisfies Partial<Holding>;
    for (const name of ['guestFiles', 'controllerFiles', 'sockets'] as const)
      expect([name, after[name] - before[name]]).toEqual([
        name,
        expect.toSatisfy((more) => more < most[name]),
      ]);
    expect((besideArtifacts() - disk) / MORE).toBeLessThan(REMEMBERED);
    expect(walBytes()).toBeLessThan(LONGEST_WAL);
  });
});

describe('gc after them', () => {
  it('removes what it said that it would, and nothing else', async () => {
    const dry = await collect('--dry-run');
    // a guest's first volume counts as in use for as long as the guest is there
    expect(dry.removed).toHaveLength(FIRST + MORE - KEEP);
    const before = filesIn(place.state);
    const again = await collect('--dry-run');
    expect(again.removed).toEqual(dry.removed);
    expect(changesSince(before)).toEqual([]);
    const done = await collect();
    expect(done.removed).toEqual(dry.removed);
    expect(changesSince(before)).toEqual(dry.removed.map(({ name }) => `artifacts/${name} is gone`).sort());
    // the kernel, the initrd, the first volume, and those of the newest revisions
    expect(filesIn(join(place.state, 'artifacts')).size).toBe(3 + KEEP);
    expect((await collect()).removed).toEqual([]);
  });

  it('leaves what serves, and what is gone back to', async () => {
    expect(serving(await place.status())).toEqual([1, 2].map((n) => `site-1-${n} ${revision} verified`));
    const [outcome] = await underLoad(place, () => place.cli(['rollback']));
    expect(outcome).toMatchObject({ exitCode: 0, stderr: '' });
    expect(serving(await place.status())).toEqual([1, 2].map((n) => `site-1-${n} ${revision - 1} verified`));
  });
});

describe('an artifact that a rollback needs', () => {
  it.each([
    ['has another byte', 'UD_ARTIFACT_CORRUPT', () => spoil(place, revision - 2, 'volume')],
    ['is not there', 'UD_ARTIFACT_MISSING', () => removed(revision - 2)],
  ] as const)('and %s is found before anything is touched', async (_what, code, damage) => {
    await damage();
    const [untouched, held] = [await everything(place), await holding(place)];
    const [outcome] = await underLoad(place, () => place.cli(['rollback', '--to', `${revision - 2}`]));
    refusal(outcome, code);
    expect(await everything(place)).toEqual(untouched);
    const { nodes, depth, runFiles } = held;
    expect(await holding(place)).toMatchObject({ nodes, depth, runFiles });
  });
});

async function rollOut(times: number): Promise<void> {
  for (let n = 0; n < times; n++) {
    revision++;
    await place.publish(`<h1>revision ${revision}</h1>\n`);
    expect(await place.cli(['rollout'])).toMatchObject({ exitCode: 0, stderr: '' });
  }
}

async function collect(...options: string[]): Promise<Collected> {
  const { stdout } = await place.cli(['gc', '--json', '--unused-for', '0s', ...options]);
  return JSON.parse(stdout) as Collected;
}

/** What was changed in the state folder, but for what a controller at work always changes there. */
function changesSince(before: ReadonlyMap<string, string>): string[] {
  const now = filesIn(place.state);
  return [...before.keys(), ...now.keys()]
    .filter((path, at, all) => all.indexOf(path) === at && before.get(path) !== now.get(path))
    .filter((path) => !AT_WORK.test(path))
    .map((path) => (now.has(path) ? `${path} is ${before.has(path) ? 'changed' : 'new'}` : `${path} is gone`))
    .sort();
}

/** The folder of the artifacts itself, whose names are looked at one by one; the lease, the clock, logs, the database and its copy. */
const AT_WORK = /^(artifacts|lease(\/.*)?|clock.*|.*\.log|state\.db([.-].*)?)$/;

function besideArtifacts(): number {
  return bytesIn(place.state) - bytesIn(join(place.state, 'artifacts')) - walBytes();
}

function walBytes(): number {
  return statSync(join(place.state, 'state.db-wal')).size;
}

async function removed(number: number): Promise<void> {
  const { revisions } = await historyOf(place);
  const digest = revisions.find((each) => each.number === number)?.volumes[0]?.digest;
  await rm(join(place.state, 'artifacts', `${digest}`), { force: true });
}
