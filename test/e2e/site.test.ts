import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { History } from '../../src/daemon/client.ts';
import type { Plan } from '../../src/daemon/messages.ts';
import { refusal } from '../support/cli/refusal.ts';
import { underLoad } from '../support/cli/under-load.ts';
import { listens, openWorkplace, serving, type Workplace } from '../support/cli/workplace.ts';
import { eventually } from '../support/qemu/asking.ts';

let place: Workplace;

beforeAll(async () => {
  place = await openWorkplace();
});

afterAll(async () => {
  const left = place.processes().map(({ words }) => words.join(' '));
  await place.close();
  expect(left).toEqual([]);
});

const history = async () => JSON.parse((await place.cli(['history', '--json'])).stdout) as History;

/** One pool, in the order of a service's life. */
describe('a folder of HTML on two guests', () => {
  it('comes up with one command, verified on each', async () => {
    const { exitCode, last } = await place.cli(['up', '--json']);
    expect(last).toMatchObject({
      result: 'succeeded',
      exitCode: 0,
      service: 'site',
      revision: 1,
      error: null,
    });
    expect(exitCode).toBe(0);
    const status = await place.status();
    expect(serving(status)).toEqual(['site-1-1 1 verified', 'site-1-2 1 verified']);
    expect(status.goal).toMatchObject({ revision: 1, replicas: 2 });
  });

  it('is left alone by a second up, and by a rollout of the same folder', async () => {
    for (const command of ['up', 'rollout']) {
      const { exitCode, stdout } = await place.cli([command]);
      expect(stdout).toMatch(/^no change: site serves revision 1/);
      expect(exitCode).toBe(0);
    }
    expect((await place.cli(['plan'])).stdout).toMatch(/^no change: site serves revision 1/);
  });

  it('is told by plan what a change would do, and not changed by it', async () => {
    await place.publish('<h1>two</h1>\n');
    const plan = JSON.parse((await place.cli(['plan', '--json'])).stdout) as Plan;
    expect(plan).toMatchObject({ strategy: 'volume-swap', from: { revision: 1 }, to: { revision: 2 } });
    const { stdout } = await place.cli(['plan']);
    expect(stdout).toContain('site: revision 1 on 2 → revision 2 on 2, volume-swap');
    expect(stdout).toMatch(/swap the volume of site-1-1\n.*swap the volume of site-1-2\n/);
    expect(serving(await place.status())).toEqual(['site-1-1 1 verified', 'site-1-2 1 verified']);
    const { rollouts, revisions } = await history();
    expect([rollouts.length, revisions.length]).toEqual([1, 1]);
  });

  it('takes a changed folder as a volume swap, and no request fails', async () => {
    const [{ exitCode, stdout }, ledger] = await underLoad(place, () => place.cli(['rollout']));
    expect(stdout).toMatch(/swapped the volume of site-1-1[\s\S]*done: site serves revision 2, after /);
    expect(exitCode).toBe(0);
    expect(serving(await place.status())).toEqual(['site-1-1 2 verified', 'site-1-2 2 verified']);
    expect(Object.keys(ledger.revisions)).toHaveLength(2);
  });

  it('goes back by rollback, and no request fails', async () => {
    const [{ exitCode, last }] = await underLoad(place, () => place.cli(['rollback', '--json']));
    expect(last).toMatchObject({ result: 'succeeded', revision: 1 });
    expect(exitCode).toBe(0);
    expect(serving(await place.status())).toEqual(['site-1-1 1 verified', 'site-1-2 1 verified']);
  });

  it('is not changed by a rollback to a revision that there never was', async () => {
    const before = await history();
    const { message, next } = refusal(await place.cli(['rollback', '99']), 'UD_UNKNOWN_REVISION');
    expect(message).toBe('site has no revision 99; it has 2, 1');
    expect(next).toContain('unideploy history');
    refusal(await place.cli(['rollback']), 'UD_UNKNOWN_REVISION');
    expect(await history()).toEqual(before);
    expect(serving(await place.status())).toEqual(['site-1-1 1 verified', 'site-1-2 1 verified']);
  });

  it.each([
    ['that says which revision it is', { revision: 'r1' }],
    ['of which nobody knows the revision', {}],
  ])('rolls a corrupt volume back by itself, one %s', async (_name, revision) => {
    await writeFile(join(place.project, 'volume.img'), Buffer.alloc(1 << 20, JSON.stringify(revision)));
    const volumes = [{ file: 'volume.img', format: 'raw', ...revision }];
    await place.configure({ volumes, rollout: { verify: '2s' } });
    const [outcome] = await underLoad(place, () => place.cli(['rollout']));
    expect(outcome).toMatchObject({ exitCode: 3 });
    expect(outcome.stderr).toMatch(
      /^unideploy: UD_VOLUME_UNVERIFIED: rolled back, site serves revision 1 again after [^\n]+\. Next: read its console: unideploy logs site-1-\d$/,
    );
    expect(outcome.stdout).toMatch(/going back to revision 1: UD_VOLUME_UNVERIFIED/);
    expect(outcome.stdout).toMatch(/\n {2}site-1-\d answered: /);
    expect(outcome.stdout).toMatch(/\n {2}site-1-\d console \| .*serving/);
    expect(serving(await place.status())).toEqual(['site-1-1 1 verified', 'site-1-2 1 verified']);

    const { last, lines } = await place.cli(['rollout', '--json']);
    expect(last).toMatchObject({ result: 'rolled-back', exitCode: 3, revision: 1 });
    expect(last.error).toMatchObject({ code: 'UD_VOLUME_UNVERIFIED' });
    const turned = lines.find(({ event }) => event === 'rollback-started');
    expect(turned).toMatchObject({
      to: 1,
      reason: last.error,
      evidence: { instance: expect.stringMatching(/^site-1-/) },
    });
    const [latest] = (await history()).rollouts;
    expect(latest).toMatchObject({ state: 'rolled-back', reason: last.error, from: { revision: 1 } });
    expect((await place.cli(['history'])).stdout).toContain('rolled-back: UD_VOLUME_UNVERIFIED');
  });

  it('goes on with what was asked for after Ctrl-C, and takes no second order meanwhile', async () => {
    await place.configure();
    await place.publish('<h1>one</h1>\n');
    const { pid, said, outcome } = place.start(['scale', '3']);
    await eventually('the rollout is shown', () => said().includes('(scale)'));
    const { message, next } = refusal(await place.cli(['rollback']), 'UD_LOCKED');
    expect(message).toMatch(/^rollout \d+ of site, started by a test, is still under way$/);
    expect(next).toContain('unideploy wait --service site');
    process.kill(pid, 'SIGINT');
    const { exitCode, stderr } = await outcome;
    expect(exitCode).toBe(130);
    expect(stderr).toMatch(
      /rollout \d+ of site goes on without this command. Next: see it: unideploy status --service site$/,
    );
    await eventually(
      'three serve',
      async () => {
        const status = await place.status();
        return (
          status.open === null && serving(status).filter((each) => each.endsWith(' 1 verified')).length === 3
        );
      },
      60_000,
    );
  });

  it('is made smaller by scale, and no request fails', async () => {
    const [{ exitCode }] = await underLoad(place, () => place.cli(['scale', '1']));
    expect(exitCode).toBe(0);
    expect(serving(await place.status())).toHaveLength(1);
  });

  it('shows the console of an instance that runs, and of one that is gone', async () => {
    const [running] = (await place.status()).instances.map(({ id }) => id);
    const gone = ['site-1-1', 'site-1-2'].find((id) => id !== running);
    for (const id of [running, gone]) {
      const logs = await place.cli(['logs', `${id}`, '--lines', '50']);
      expect({ id, ...logs }).toMatchObject({
        exitCode: 0,
        stdout: expect.stringContaining('ready on port 80'),
      });
    }
    const last = await place.cli(['logs', `${running}`, '-n', '1', '--json']);
    expect(last.lines).toEqual([{ instance: running, line: expect.any(String) }]);
  });

  it('leaves no process and no listener when it is taken down', async () => {
    const { listen } = await place.status();
    const { exitCode, stdout } = await place.cli(['down']);
    expect(exitCode).toBe(0);
    expect(stdout).toMatch(/done: site serves nothing/);
    expect(place.processes()).toEqual([]);
    expect(await listens(listen ?? { host: '127.0.0.1', port: 0 })).toBe(false);
    refusal(await place.cli(['status']), 'UD_CONTROLLER_NOT_RUNNING');
  });
});
