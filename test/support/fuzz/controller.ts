import { EventEmitter } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ContentStore } from '../../../src/artifact/store.ts';
import { apiServer } from '../../../src/daemon/api.ts';
import { Collector } from '../../../src/daemon/collector.ts';
import { DataVolumes } from '../../../src/daemon/data-volumes.ts';
import { Deployments } from '../../../src/daemon/deployments.ts';
import { Orders } from '../../../src/daemon/orders.ts';
import { Runs } from '../../../src/daemon/runs.ts';
import { Services } from '../../../src/daemon/services.ts';
import { Snapshots } from '../../../src/daemon/snapshots.ts';
import { strategyOf } from '../../../src/daemon/strategy-of.ts';
import { systemClock } from '../../../src/daemon/system-clock.ts';
import { VolumeCopies } from '../../../src/daemon/volume-copies.ts';
import { UNFENCED } from '../../../src/domain/fence.ts';
import { Monitor } from '../../../src/engine/monitor.ts';
import type { EngineParts } from '../../../src/engine/parts.ts';
import { Routing } from '../../../src/engine/routing.ts';
import { Templates } from '../../../src/engine/templates.ts';
import { Tidier } from '../../../src/engine/tidy.ts';
import { SimulatedWorld } from '../../../src/hypervisor/simulated/world.ts';
import { simulatedDataPlane } from '../../../src/proxy/simulated.ts';
import { SnapshotCatalogue } from '../../../src/snapshots/catalogue.ts';
import { sqliteStore } from '../../../src/store/sqlite.ts';
import { HEALTH } from '../revisions.ts';
import type { ApiRoute } from './requests.ts';

export interface FuzzedController {
  socket: string;
  /** every one there is, as the server itself tells */
  routes: ApiRoute[];
  close(): Promise<void>;
}

/** A controller's API on a real socket, whose rollouts really go on, on guests that are a model and boot at once. */
export async function fuzzedController(): Promise<FuzzedController> {
  const folder = await mkdtemp(join(tmpdir(), 'ud-fuzz-'));
  const store = sqliteStore(':memory:');
  const artifacts = await ContentStore.open(join(folder, 'artifacts'));
  const costs = { spawn: 1, boot: 5, attach: 1, detach: 1, stop: 1 };
  const { hypervisor, prober } = new SimulatedWorld(systemClock, () => null, costs);
  const dataPlane = simulatedDataPlane(systemClock);
  const journaled = new EventEmitter().setMaxListeners(0);
  const monitor = new Monitor(hypervisor, prober, systemClock, () => ({ ...HEALTH, interval: 50 }));
  const routing = new Routing(dataPlane, store);
  const onJournal = (rollout: number) => void journaled.emit('entry', rollout);
  const parts: EngineParts = {
    hypervisor,
    monitor,
    routing,
    store,
    clock: systemClock,
    strategyOf,
    // what a fuzzer makes up is not to be run
    tell: async () => {},
    hooks: { run: async () => {} },
    measures: { open: async () => Promise.reject(new Error('nothing is measured here')) },
    templates: new Templates({ hypervisor, monitor, prober, clock: systemClock, atOnce: 4 }),
    onJournal,
    onOrder: (rollout, listener) => {
      const hear = (id: number) => id === rollout && listener();
      journaled.on('entry', hear);
      return () => journaled.off('entry', hear);
    },
  };
  const runs = new Runs(parts, () => {}, { has: () => {}, over: () => {} });
  const tidier = new Tidier({ hypervisor, routing, store, clock: systemClock, onJournal });
  const services = new Services(parts, store);
  const orders = new Orders(parts, store, services);
  const catalogue = new SnapshotCatalogue(join(folder, 'snapshots'));
  const deployments = new Deployments(parts, {
    store,
    artifacts: { want: async () => true, verify: async () => {}, snapshots: catalogue },
    orders,
    runs,
    tidier,
  });
  const api = await apiServer({
    state: folder,
    snapshots: new Snapshots({ store, hypervisor, catalogue, clock: systemClock, fence: UNFENCED }),
    deployments,
    data: new DataVolumes({ ...parts, store, orders, deployments }),
    orders,
    services,
    collector: new Collector({ store, artifacts, hypervisor, clock: systemClock }),
    copies: new VolumeCopies(join(folder, 'copies'), { ...parts, store }),
    store,
    artifacts,
    hypervisor,
    dataPlane,
    metrics: async () => '',
    journaled,
    troubles: () => [],
    leftovers: async () => [],
    stop: () => {},
  });
  const socket = join(folder, 'api.sock');
  await api.listen({ path: socket });
  void monitor.run();
  return {
    socket,
    routes: routesIn(api.printRoutes({ commonPrefix: false })),
    async close() {
      monitor.stop();
      await api.close();
      // rollouts that go on would write to a store that is closed
      for (const { id, service } of store.openRollouts()) {
        store.append({ id, service }, Date.now(), { event: 'ordered', how: 'supersede', by: 'the end' });
        onJournal(id);
        await runs.ended(id);
      }
      store.close();
      await rm(folder, { recursive: true });
    },
  };
}

/** Fastify tells its routes as a tree, four columns a level. */
function routesIn(tree: string): ApiRoute[] {
  const above: string[] = [];
  return tree.split('\n').flatMap((line) => {
    const [, branch = '', path = '', methods = ''] = /^(.*── )(\S*)(?: \((.+)\))?$/.exec(line) ?? [];
    if (branch === '') return [];
    const level = branch.length / 4 - 1;
    above.splice(level, above.length, path);
    return methods === '' ? [] : methods.split(', ').map((method) => ({ method, path: above.join('') }));
  });
}
