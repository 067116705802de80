import { describe, expect, it } from 'vitest';
import { Deployments } from '../../../src/daemon/deployments.ts';
import type { DeployRequest } from '../../../src/daemon/messages.ts';
import { Orders } from '../../../src/daemon/orders.ts';
import { Services } from '../../../src/daemon/services.ts';
import { simulation } from '../../../src/daemon/simulation.ts';
import type { Rollout } from '../../../src/domain/rollout.ts';
import { DEFAULT_SUPERVISION } from '../../../src/domain/supervision.ts';
import { DEFAULT_TRAFFIC, type TrafficPolicy } from '../../../src/domain/traffic.ts';
import { runRollout } from '../../../src/engine/engine.ts';
import { Routing } from '../../../src/engine/routing.ts';
import { sqliteStore } from '../../../src/store/sqlite.ts';
import { HEALTH, POLICY, revision } from '../../support/revisions.ts';

const STICKY: TrafficPolicy = { ...DEFAULT_TRAFFIC, sticky: { cookie: 'shop', pages: 0 } };

function request(traffic: TrafficPolicy, image = 'a'): DeployRequest {
  const { image: boot, machine, volumes, checks } = revision(1, { image });
  return {
    kind: 'rollout',
    spec: { image: boot, machine, volumes, checks },
    replicas: 2,
    listen: { host: '127.0.0.1', port: 8080 },
    traffic,
    policy: POLICY,
    health: HEALTH,
    supervision: DEFAULT_SUPERVISION,
    performer: 'tester',
    gitCommit: null,
    expect: null,
    force: false,
    supersede: false,
  };
}

/** The verbs on simulated guests; each rollout is run to its end before the next one. */
function scene() {
  const store = sqliteStore(':memory:');
  const sim = simulation({ revisionOf: (service, number) => store.revision(service, number) });
  const routing = new Routing(sim.dataPlane, store);
  const parts = { ...sim.controller(HEALTH), store, routing };
  const opened: Rollout[] = [];
  const services = new Services(parts, store);
  const deployments = new Deployments(parts, {
    store,
    orders: new Orders(parts, store, services),
    artifacts: { want: async () => true, verify: async () => {} },
    runs: { start: (rollout) => void opened.push(rollout), ended: async () => {} },
    tidier: { idle: async () => {} },
  });
  const done = async (started: Promise<{ kind: string }>) => {
    const { kind } = await started;
    const rollout = opened.pop();
    if (!rollout) return { kind, actions: [] };
    const { state } = await sim.clock.until(runRollout(parts, rollout.id));
    const actions = store
      .journal(rollout.id, 0)
      .flatMap((entry) => (entry.event === 'action-started' ? [entry.action.kind] : []));
    return { kind, state, actions };
  };
  const table = async () => (await sim.dataPlane.status())[0];
  return { deployments, services, done, table, sim };
}

describe('how clients reach a service', () => {
  it('is changed by a rollout of its own, in which no instance is touched', async () => {
    const { deployments, services, done, table } = scene();
    await done(deployments.deploy('site', request(DEFAULT_TRAFFIC)));
    const routes = (await table())?.routes;
    expect(await done(deployments.deploy('site', request(STICKY)))).toEqual({
      kind: 'rollout',
      state: 'succeeded',
      actions: [],
    });
    expect(await table()).toMatchObject({ traffic: STICKY, routes });
    expect((await services.status('site')).traffic).toEqual(STICKY);
    expect(await done(deployments.deploy('site', request(STICKY)))).toMatchObject({ kind: 'unchanged' });
  });

  it('is planned like any other change', async () => {
    const { deployments, done } = scene();
    await done(deployments.deploy('site', request(DEFAULT_TRAFFIC)));
    const plan = await deployments.plan('site', request(STICKY));
    expect(plan).toMatchObject({ strategy: 'rolling', to: { traffic: STICKY } });
    expect((await deployments.plan('site', request(DEFAULT_TRAFFIC))).strategy).toBeNull();
  });

  it('stays as it is when the service is scaled, or its revision rolled back', async () => {
    const { deployments, done, table } = scene();
    await done(deployments.deploy('site', request(DEFAULT_TRAFFIC)));
    await done(deployments.deploy('site', request(STICKY, 'b')));
    await done(deployments.scale('site', 3, 'tester'));
    expect(await table()).toMatchObject({ traffic: STICKY, routes: { length: 3 } });
    await done(deployments.rollback('site', 1, 'tester'));
    expect(await table()).toMatchObject({ traffic: STICKY });
  });

  it('tells which instances the data plane uses', async () => {
    const { deployments, services, done, sim } = scene();
    await done(deployments.deploy('site', request(DEFAULT_TRAFFIC)));
    const { instances } = await services.status('site');
    expect(instances.map(({ usable }) => usable)).toEqual([true, true]);
    const stranger = { ...revision(1), id: 'site-9-1', revision: 1, rollout: 9, launchedAt: 0 };
    sim.world.adopt({
      spec: stranger,
      state: 'running',
      runState: 'running',
      endpoint: null,
      volumes: [],
    });
    const found = (await services.status('site')).instances.find(({ id }) => id === 'site-9-1');
    expect(found?.usable).toBeNull();
  });
});
