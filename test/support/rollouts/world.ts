import { type Simulation, simulation } from '../../../src/daemon/simulation.ts';
import type { Revision } from '../../../src/domain/revision.ts';
import type { Rollout } from '../../../src/domain/rollout.ts';
import { DEFAULT_TRAFFIC } from '../../../src/domain/traffic.ts';
import type { Incident } from '../../../src/hypervisor/simulated/world.ts';
import type { RoutingTable } from '../../../src/proxy/port.ts';
import { goalOf, rollout } from '../revisions.ts';

const START = 1_000_000;

/** A world in which `count` guests of the first revision serve already. */
export async function world(
  revisions: [Revision, ...Revision[]],
  count: number,
  incidentFor: (id: string) => Incident | null = () => null,
  more: Partial<Parameters<typeof simulation>[0]> = {},
): Promise<Simulation> {
  const sim = simulation({
    start: START,
    revisionOf: (_service, number) => revisions.find((candidate) => candidate.number === number) ?? null,
    incidentFor,
    ...more,
  });
  const [old] = revisions;
  const ids = Array.from({ length: count }, (_, n) => `site-1-${n + 1}`);
  for (const id of ids) {
    const spec = { ...old, id, revision: 1, rollout: 1, launchedAt: 0 };
    sim.world.adopt({ spec, state: 'running', runState: 'running', endpoint: null, volumes: old.volumes });
  }
  const routes = ids.map((instance, n) => ({
    instance,
    revision: 1,
    host: 'simulated',
    port: n + 1,
    weight: 100,
  }));
  await sim.dataPlane.apply({
    service: 'site',
    version: 1,
    listen: { host: '127.0.0.1', port: 8080 },
    hold: false,
    preview: null,
    traffic: DEFAULT_TRAFFIC,
    routes,
  });
  return sim;
}

/** A rollout from one guest of the first revision to one of the second, unless `changes` say otherwise. */
export function open(sim: Simulation, changes: Partial<Rollout>): void {
  const at = sim.clock.now();
  sim.store.open(rollout(2, goalOf(1, 1), goalOf(2, 1), { startedAt: at, since: at, ...changes }));
}

/** Every table that the data plane is given from now on. */
export function tablesOf({ dataPlane }: Simulation): RoutingTable[] {
  const seen: RoutingTable[] = [];
  const apply = dataPlane.apply;
  dataPlane.apply = async (table) => {
    seen.push(table);
    return await apply(table);
  };
  return seen;
}
