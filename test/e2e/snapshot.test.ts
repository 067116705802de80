import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { ListedSnapshot, ShownSnapshot } from '../../src/daemon/messages.ts';
import { takeDown } from '../support/cli/take-down.ts';
import { underLoad } from '../support/cli/under-load.ts';
import { openWorkplace, serving, type Workplace } from '../support/cli/workplace.ts';
import { answersWith, ask, eventually } from '../support/qemu/asking.ts';

let place: Workplace;

beforeAll(async () => {
  place = await openWorkplace();
  expect(await place.cli(['up'])).toMatchObject({ exitCode: 0 });
});

afterAll(() => takeDown(place));

async function create(...args: string[]): Promise<ShownSnapshot> {
  const { exitCode, stdout, stderr } = await place.cli(['snapshot', 'create', ...args, '--json']);
  expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: '' });
  return JSON.parse(stdout.trim().split('\n').at(-1) ?? '') as ShownSnapshot;
}

async function snapshots(): Promise<ListedSnapshot[]> {
  return JSON.parse((await place.cli(['snapshot', 'ls', '--json'])).stdout) as ListedSnapshot[];
}

/** What tells one boot of a guest from another. */
async function bootOf(id: string): Promise<string> {
  const { instances } = await place.status();
  const endpoint = instances.find((each) => each.id === id)?.endpoint;
  if (!endpoint) throw new Error(`no endpoint of ${id}`);
  return (JSON.parse((await ask(endpoint, '/.unideploy/status', 5_000)).body) as { boot_id: string }).boot_id;
}

const settled = (pool: string[]) =>
  eventually(`the pool is ${pool}`, async () => `${serving(await place.status())}` === `${pool}`, 60_000);

describe('a snapshot of an instance that serves', () => {
  let taken: ShownSnapshot;
  let boot: string;

  it('costs no request', async () => {
    boot = await bootOf('site-1-1');
    [taken] = await underLoad(place, () => create('site-1-1'));
    expect(taken).toMatchObject({ instance: 'site-1-1', revision: 1, memory: true, disk: false });
    expect(taken.createdBy).toBe('a test');
    expect(serving(await place.status())).toEqual(['site-1-1 1 verified', 'site-1-2 1 verified']);
  });

  it('is listed, for people too', async () => {
    expect(await snapshots()).toMatchObject([{ id: taken.id, damaged: false, bytes: taken.bytes }]);
    const { stdout } = await place.cli(['snapshot', 'ls']);
    expect(stdout).toMatch(/^SNAPSHOT +INSTANCE +REVISION +OF +SIZE +AGE +BY/);
    expect(stdout).toMatch(
      new RegExp(`^${taken.id} +site-1-1 +1 +memory +[0-9.]+ MB +\\d+ (s|min) +a test$`, 'm'),
    );
  });

  it('takes the place of the instance when that was killed, with what it knew', async () => {
    const { 'site-1-1': pid = 0 } = await place.guestPids();
    const running = await place.load();
    process.kill(pid, 'SIGKILL');
    const outcome = await place.cli(['snapshot', 'restore', taken.id]);
    await running.stop();
    expect(outcome).toMatchObject({ exitCode: 0, stderr: '' });
    const id = /launched (site-\d+-1) /.exec(outcome.stdout)?.[1] ?? '';
    await settled(['site-1-2 1 verified', `${id} 1 verified`].sort());
    expect(await bootOf(id)).toBe(boot);
    // What was in flight in the guest that was killed.
    expect(running.ledger.failures.length).toBeLessThan(10);
  });

  it('takes the place of an instance that serves, under load, and no request fails', async () => {
    const [outcome] = await underLoad(place, () =>
      place.cli(['snapshot', 'restore', taken.id, '--replace', 'site-1-2']),
    );
    expect(outcome).toMatchObject({ exitCode: 0, stderr: '' });
    expect(outcome.stdout).toMatch(/\(restore\): revision 1 → revision 1 on 2, restore, by a test/);
    expect(outcome.stdout).toMatch(/drained site-1-2[\s\S]*retired site-1-2/);
    expect(serving(await place.status())).toHaveLength(2);
  });

  it('is refused for another revision of several instances, and takes a single one back to its own', async () => {
    await place.publish('<h1>two</h1>\n');
    expect(await place.cli(['rollout'])).toMatchObject({ exitCode: 0 });
    const refused = await place.cli(['snapshot', 'restore', taken.id]);
    expect(refused).toMatchObject({ exitCode: 4, stderr: expect.stringMatching(/UD_SNAPSHOT_REFUSED/) });
    expect(await place.cli(['scale', '1'])).toMatchObject({ exitCode: 0 });
    const [outcome] = await underLoad(place, () => place.cli(['snapshot', 'restore', taken.id]));
    expect(outcome).toMatchObject({ exitCode: 0, stderr: '' });
    expect(serving(await place.status())).toEqual([expect.stringMatching(/^site-\d+-1 1 verified$/)]);
    const { listen } = await place.status();
    if (listen) await answersWith(listen, '/', /one/);
  });

  it('holds its artifacts, and goes when it is told to', async () => {
    const gc = await place.cli(['gc', '--dry-run', '--all', '--unused-for', '0s']);
    expect(gc.exitCode).toBe(0);
    expect(await place.cli(['snapshot', 'rm', taken.id])).toMatchObject({ exitCode: 0 });
    expect(await snapshots()).toEqual([]);
    const gone = await place.cli(['snapshot', 'restore', taken.id]);
    expect(gone).toMatchObject({ exitCode: 2, stderr: expect.stringMatching(/UD_UNKNOWN_SNAPSHOT/) });
  });

  it('leaves nothing when Ctrl-C ends the command, and the guest serves on', async () => {
    const creating = place.start(['snapshot', 'create', '--json']);
    await eventually('it is under way', () => creating.said().includes('progress'));
    process.kill(creating.pid, 'SIGINT');
    const { exitCode } = await creating.outcome;
    const folder = join(place.state, 'snapshots/site');
    if (exitCode !== 0) {
      expect(exitCode).toBe(130);
      await eventually('nothing is left', async () => (await readdir(folder)).length === 0);
    }
    expect(serving(await place.status())).toEqual([expect.stringMatching(/ 1 verified$/)]);
  });

  it('is taken anew by a person when the controller was killed in its midst, and the guest serves on', async () => {
    const creating = place.start(['snapshot', 'create', '--json']);
    await eventually('it is under way', () => creating.said().includes('progress'));
    process.kill(await place.controllerPid(), 'SIGKILL');
    await creating.outcome;
    await place.serve();
    await eventually('it serves', async () => {
      const { instances } = await place.status();
      return (
        instances.length === 1 &&
        instances.every(({ health, runState }) => health === 'healthy' && runState === 'running')
      );
    });
    expect(await create()).toMatchObject({ revision: 1 });
  });

  it('is brought back by the next controller when the first was killed in the midst of that', async () => {
    const [taken] = await snapshots();
    const restoring = place.start(['snapshot', 'restore', taken?.id ?? '']);
    await eventually(
      'it is under way',
      async () => (await place.status()).open?.kind === 'restore',
      10_000,
      2,
    );
    process.kill(await place.controllerPid(), 'SIGKILL');
    await place.serve();
    expect(await restoring.outcome).toMatchObject({ exitCode: 0 });
    expect(serving(await place.status())).toEqual([expect.stringMatching(/^site-\d+-\d+ 1 verified$/)]);
  });
});
