import { mkdir, readdir, utimes } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { things } from '../../../src/daemon/debris.ts';
import { Deployments } from '../../../src/daemon/deployments.ts';
import { Orders } from '../../../src/daemon/orders.ts';
import { statePaths } from '../../../src/daemon/paths.ts';
import { Services } from '../../../src/daemon/services.ts';
import { simulation } from '../../../src/daemon/simulation.ts';
import { Snapshots } from '../../../src/daemon/snapshots.ts';
import { UNFENCED } from '../../../src/domain/fence.ts';
import type { Rollout } from '../../../src/domain/rollout.ts';
import { DEFAULT_SUPERVISION } from '../../../src/domain/supervision.ts';
import { DEFAULT_TRAFFIC } from '../../../src/domain/traffic.ts';
import { runRollout } from '../../../src/engine/engine.ts';
import { Routing } from '../../../src/engine/routing.ts';
import { SnapshotCatalogue } from '../../../src/snapshots/catalogue.ts';
import { sqliteStore } from '../../../src/store/sqlite.ts';
import { temporaryFolder } from '../../integration/artifact/folder.ts';
import { HEALTH, POLICY, revision } from '../../support/revisions.ts';

const NEVER = new AbortController().signal;

/** A service on simulated guests; each rollout is run to its end before the next one. */
async function scene(replicas: number) {
  const store = sqliteStore(':memory:');
  onTestFinished(() => store.close());
  const sim = simulation({ revisionOf: (service, number) => store.revision(service, number) });
  const routing = new Routing(sim.dataPlane, store);
  const parts = { ...sim.controller(HEALTH), store, routing };
  const opened: Rollout[] = [];
  const catalogue = new SnapshotCatalogue(await temporaryFolder());
  const deployments = new Deployments(parts, {
    store,
    orders: new Orders(parts, store, new Services(parts, store)),
    artifacts: { want: async () => true, verify: async () => {}, snapshots: catalogue },
    runs: { start: (rollout) => void opened.push(rollout), ended: async () => {} },
    tidier: { idle: async () => {} },
  });
  const { hypervisor } = sim.world;
  const snapshots = new Snapshots({ catalogue, hypervisor, store, fence: UNFENCED, clock: sim.clock });
  const done = async (started: Promise<unknown>) => {
    await started;
    const rollout = opened.pop();
    return rollout && (await sim.clock.until(runRollout(parts, rollout.id)));
  };
  const deploy = async (code: string) => {
    const { image, machine, volumes, checks } = revision(1, { code });
    return await done(
      deployments.deploy('site', {
        ...{
          kind: 'rollout',
          spec: { image, machine, volumes, checks },
          replicas,
          policy: POLICY,
          health: HEALTH,
        },
        ...{ listen: { host: '127.0.0.1', port: 8080 }, traffic: DEFAULT_TRAFFIC, performer: 'tester' },
        ...{
          supervision: DEFAULT_SUPERVISION,
          gitCommit: null,
          expect: null,
          force: false,
          supersede: false,
        },
      }),
    );
  };
  const take = (instance: string | null, memory = true, signal = NEVER) =>
    sim.clock.until(snapshots.create('site', { instance, memory, performer: 'ana' }, () => {}, signal));
  const restore = (id: string, replaces: string | null = null) =>
    done(deployments.restore('site', id, replaces, 'ana'));
  const pool = async () => (await hypervisor.list()).map(({ spec }) => spec);
  await deploy('x');
  return { catalogue, deploy, take, restore, pool, snapshots, store, deployments };
}

describe('a snapshot', () => {
  it('is of the revision that the instance is of now', async () => {
    const { deploy, take } = await scene(1);
    await deploy('y');
    expect(await take(null)).toMatchObject({ instance: 'site-1-1', revision: 2, createdBy: 'ana' });
  });

  it('wants to know of which instance, where there are several', async () => {
    const { take } = await scene(2);
    await expect(take(null)).rejects.toMatchObject({ code: 'UD_UNKNOWN_INSTANCE' });
    await expect(take('site-9-9')).rejects.toMatchObject({ code: 'UD_UNKNOWN_INSTANCE' });
    expect(await take('site-1-2')).toMatchObject({ instance: 'site-1-2' });
  });

  it('is brought back by one launch, in the place of the instance that was saved', async () => {
    const { take, restore, pool } = await scene(3);
    const { id } = await take('site-1-2');
    expect(await restore(id)).toMatchObject({ kind: 'restore', state: 'succeeded', strategy: 'restore' });
    expect((await pool()).map((spec) => [spec.id, spec.snapshot])).toEqual([
      ['site-1-1', undefined],
      ['site-1-3', undefined],
      ['site-2-1', id],
    ]);
  });

  it('takes the only instance back to its revision, and several not', async () => {
    const single = await scene(1);
    const { id } = await single.take(null);
    await single.deploy('y');
    await single.restore(id);
    expect(single.store.service('site')?.goal.revision).toBe(1);

    const several = await scene(2);
    const of = await several.take('site-1-1');
    await several.deploy('y');
    await expect(several.restore(of.id)).rejects.toMatchObject({ code: 'UD_SNAPSHOT_REFUSED' });
  });

  it('goes by an explicit word, and not while an instance is being brought back from it', async () => {
    const { take, snapshots, deployments } = await scene(1);
    const { id } = await take(null);
    await deployments.restore('site', id, null, 'ana');
    await expect(snapshots.remove('site', id)).rejects.toMatchObject({ code: 'UD_LOCKED' });
    await expect(snapshots.remove('site', 'other')).rejects.toMatchObject({ code: 'UD_UNKNOWN_SNAPSHOT' });
  });
});

it('what a dead controller has not finished of a snapshot is left over, what lives is not', async () => {
  const root = await temporaryFolder();
  const folder = join(root, 'snapshots/site');
  for (const name of ['.one.99999999.new', `.two.${process.pid}.new`, 'three'])
    await mkdir(join(folder, name), { recursive: true });
  for (const name of await readdir(folder)) await utimes(join(folder, name), 0, 0);
  const found = (await things(statePaths(root))).filter((thing) => thing.kind === 'file');
  expect(
    found.map(({ path, isWriterAlive }) => [path.slice(folder.length + 1), isWriterAlive]).sort(),
  ).toEqual([
    ['.one.99999999.new', false],
    [`.two.${process.pid}.new`, true],
  ]);
});
