import { randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { copyFile, open, readdir, rm, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import Database from 'libsql';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { examine } from '../../../src/store/good-copy.ts';
import { end, isAlive } from '../../support/cli/processes.ts';
import { refusal } from '../../support/cli/refusal.ts';
import { prepare } from '../../support/cli/revisions.ts';
import { running } from '../../support/cli/running.ts';
import { everything, historyOf } from '../../support/cli/story.ts';
import { takeDown } from '../../support/cli/take-down.ts';
import { serving, type Workplace } from '../../support/cli/workplace.ts';
import type { Load } from '../../support/http/load.ts';
import { eventually } from '../../support/qemu/asking.ts';

/** Two revisions on one guest, with a client that asks all the time: whatever becomes of the state, it is answered. */
let place: Workplace;
let load: Load;

beforeAll(async () => {
  place = await running('one');
  await prepare(place, 'two', { replicas: 1 });
  expect(await place.cli(['rollout'])).toMatchObject({ exitCode: 0, stderr: '' });
  load = await place.load();
});

afterAll(async () => {
  const { failures } = await load.stop();
  expect(failures).toEqual([]);
  await takeDown(place);
});

const database = () => join(place.state, 'state.db');

async function killController(): Promise<void> {
  const pid = await place.controllerPid();
  end(pid, 'SIGKILL');
  await eventually('the controller has ended', () => !isAlive(pid));
}

async function isServed(): Promise<void> {
  const before = load.ledger.ok;
  await eventually('clients are answered', () => load.ledger.ok > before + 10, 10_000);
}

/** Everything that is known is in the copy. */
async function copied(): Promise<void> {
  const copy = join(place.state, 'state.db.good');
  // Looked at in another place: nobody else may have the database open when it is damaged.
  const seen = join(place.project, 'seen.db');
  const isCurrent = async () => {
    for (const name of ['', '-wal', '-shm', '.good']) await rm(`${seen}${name}`, { force: true });
    for (const ending of ['', '-wal'])
      await copyFile(`${database()}${ending}`, `${seen}${ending}`).catch(() =>
        rm(`${seen}${ending}`, { force: true }),
      );
    await copyFile(copy, `${seen}.good`).catch(() => {});
    return isDeepStrictEqual(examine(`${seen}.good`), examine(seen));
  };
  await eventually('a good copy is there', isCurrent, 20_000, 500);
}

describe('a database that cannot be relied on', () => {
  it.each([
    ['without its log', (file: string) => rm(`${file}-wal`)],
    ['cut in the middle', (file: string) => settled(file).then(() => truncate(file, 6000))],
    ['of random bytes', (file: string) => settled(file).then(() => writeFile(file, randomBytes(20_000)))],
    ['with a page of other bytes', (file: string) => settled(file).then(() => spoilPage(file))],
    ['of no bytes', (file: string) => truncate(file, 0)],
    ['missing', (file: string) => rm(file)],
  ] as const)(
    '%s: the last good copy takes its place, and the pool goes on serving',
    async (_name, damage) => {
      await copied();
      const before = await everything(place);
      await killController();
      await damage(database());
      const controller = await place.serve();
      await eventually('the same is known', async () => {
        return JSON.stringify(await everything(place)) === JSON.stringify(before);
      });
      const { stderr, exitCode } = await place.cli(['status']);
      expect(exitCode).toBe(0);
      expect(stderr).toMatch(
        /^unideploy: UD_STATE_DAMAGED: the database .* its last good copy is in its place/,
      );
      await isServed();
      end(controller.pid, 'SIGTERM');
      expect((await controller.outcome).stderr).toContain('UD_STATE_DAMAGED');
      await place.serve();
      expect((await place.cli(['status'])).stderr).toBe('');
    },
  );

  it('keeps what was damaged, the newest three', async () => {
    const aside = (await readdir(place.state)).filter((name) => /\.bad-\w+$/.test(name));
    expect(aside).toHaveLength(3);
  });
});

/** Nothing of the database is in the log beside it any more. */
async function settled(file: string): Promise<void> {
  const db = new Database(file);
  db.prepare('pragma wal_checkpoint(truncate)').all();
  db.close();
}

/** The second page: the root of a table. */
async function spoilPage(file: string): Promise<void> {
  const handle = await open(file, 'r+');
  await handle.write(Buffer.alloc(4096, 0xa5), 0, undefined, 4096);
  await handle.close();
}

describe('a state of which nothing is left', () => {
  it.each([
    ['but what runs and what was written down', [] as string[], 'written down'],
    ['but what runs', ['records'], 'not known'],
  ])('%s: recover makes it anew', async (_name, alsoLost, told) => {
    const before = await place.status();
    const { rollouts } = await historyOf(place);
    await killController();
    const lost = (await readdir(place.state)).filter((name) => name.startsWith('state.db'));
    for (const name of [...lost, ...alsoLost])
      await rm(join(place.state, name), { recursive: true, force: true });

    const { next } = refusal(await place.cli(['serve']), 'UD_STATE_DAMAGED');
    expect(next).toContain('unideploy recover');
    const imagined = await place.cli(['recover', '--dry-run']);
    expect(imagined).toMatchObject({ exitCode: 0, stderr: '' });
    expect(imagined.stdout).toMatch(/site: revision \d+ on 1; of it run: site-/);
    expect(existsSync(database())).toBe(false);

    const recovered = await place.cli(['recover']);
    expect(recovered).toMatchObject({ exitCode: 0, stderr: '' });
    expect(recovered.stdout).toContain(told);
    await place.serve();
    refusal(await place.cli(['recover']), 'UD_CONTROLLER_RUNNING');
    const { goal, listen } = await place.status();
    expect({ revision: goal.revision, replicas: goal.replicas, listen }).toEqual({
      revision: before.goal.revision,
      replicas: before.goal.replicas,
      listen: before.listen,
    });
    await eventually('it is verified', async () =>
      serving(await place.status()).every((one) => one.endsWith('verified')),
    );
    const audit = await place.cli(['audit']);
    expect(audit.stdout).toContain('made anew from what runs');

    // Numbers go on, and so do the verbs.
    const name = `after-${alsoLost.length}`;
    await prepare(place, name, { replicas: 1 });
    expect(await place.cli(['rollout'])).toMatchObject({ exitCode: 0, stderr: '' });
    const after = await historyOf(place);
    expect(after.revisions[0]?.number).toBeGreaterThan(before.goal.revision ?? 0);
    expect(after.rollouts[0]?.id).toBeGreaterThanOrEqual(Math.min(2, rollouts[0]?.id ?? 0));
    expect(await place.cli(['rollback'])).toMatchObject({ exitCode: 0, stderr: '' });
    expect((await place.status()).goal.revision).toBe(before.goal.revision);
    await isServed();
  });
});
