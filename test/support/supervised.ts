import { Deployments } from '../../src/daemon/deployments.ts';
import { Orders } from '../../src/daemon/orders.ts';
import { Services } from '../../src/daemon/services.ts';
import { simulation } from '../../src/daemon/simulation.ts';
import type { JournalEntry } from '../../src/domain/journal.ts';
import type { DataVolume } from '../../src/domain/revision.ts';
import type { Rollout } from '../../src/domain/rollout.ts';
import type { SupervisionPolicy } from '../../src/domain/supervision.ts';
import { DEFAULT_SUPERVISION } from '../../src/domain/supervision.ts';
import { DEFAULT_TRAFFIC } from '../../src/domain/traffic.ts';
import { runRollout } from '../../src/engine/engine.ts';
import type { EngineParts } from '../../src/engine/parts.ts';
import { Routing } from '../../src/engine/routing.ts';
import { Supervisor } from '../../src/engine/supervisor.ts';
import type { Incident, Sickness } from '../../src/hypervisor/simulated/world.ts';
import { sqliteStore } from '../../src/store/sqlite.ts';
import { HEALTH, POLICY, revision } from './revisions.ts';

/** A service of simulated guests with a whole controller that looks after it. */
export async function supervised(
  options: {
    replicas?: number;
    supervision?: Partial<SupervisionPolicy>;
    /** of guests that are launched after the first rollout */
    incidentFor?: (instance: string) => Incident | null;
    /** whether the store has what a guest boots */
    hasArtifacts?: () => boolean;
    data?: DataVolume[];
  } = {},
) {
  const {
    data,
    replicas = 2,
    supervision = {},
    incidentFor = () => null,
    hasArtifacts = () => true,
  } = options;
  const store = sqliteStore(':memory:');
  let settled = false;
  const sim = simulation({
    start: 1_000_000,
    revisionOf: (service, number) => store.revision(service, number),
    incidentFor: (id) => (settled ? incidentFor(id) : null),
  });
  const listeners = new Map<number, Set<() => void>>();
  const onJournal = (id: number) => {
    for (const hear of listeners.get(id) ?? []) hear();
  };
  const parts: EngineParts = {
    ...sim.controller(HEALTH),
    store,
    routing: new Routing(sim.dataPlane, store),
    onJournal,
    onOrder: (id, hear) => {
      const all = listeners.get(id) ?? new Set();
      listeners.set(id, all.add(hear));
      return () => all.delete(hear);
    },
  };
  const running = new Map<number, Promise<unknown>>();
  const runs = {
    start: ({ id }: Rollout) => void running.set(id, runRollout(parts, id)),
    ended: async (id: number) => void (await running.get(id)),
  };
  const services = new Services(parts, store);
  const orders = new Orders(parts, store, services);
  const deployments = new Deployments(parts, {
    store,
    orders,
    runs,
    artifacts: { want: async () => hasArtifacts(), verify: async () => {} },
    tidier: { idle: async () => {} },
  });
  const supervisor = new Supervisor({
    ...parts,
    store,
    repair: async (name, sick) => await deployments.repair(name, sick),
    log: () => {},
  });
  const { image, machine, volumes, checks } = revision(1);
  const request = {
    kind: 'rollout' as const,
    spec: { image, machine, volumes, checks, ...(data && { data }) },
    replicas,
    listen: { host: '127.0.0.1', port: 8080 },
    traffic: DEFAULT_TRAFFIC,
    policy: POLICY,
    health: HEALTH,
    supervision: { ...DEFAULT_SUPERVISION, ...supervision },
    performer: 'tester',
    gitCommit: null,
    expect: null,
    force: false,
    supersede: false,
  };

  const pass = (ms: number) => sim.clock.until(sim.clock.sleep(ms));
  /** Has a verb's rollout run to its end. */
  const done = async (started: Promise<unknown>) => {
    await sim.clock.until(started);
    const open = store.openRollouts()[0];
    if (open) await sim.clock.until(runs.ended(open.id));
    return store.rollouts('site', 1)[0];
  };
  await done(deployments.deploy('site', request));
  settled = true;
  void supervisor.run();
  await pass(1000);

  const table = async () => (await sim.dataPlane.status())[0];
  const ids = async () => (await sim.world.hypervisor.list()).map(({ spec }) => spec.id);
  return {
    ...sim,
    store,
    services,
    deployments,
    supervisor,
    request,
    done,
    pass,
    ids,
    befall: (id: string, sickness: Sickness) => sim.world.befall(id, sickness),
    /** weight by instance */
    weights: async () =>
      Object.fromEntries((await table())?.routes.map(({ instance, weight }) => [instance, weight]) ?? []),
    entries: <E extends JournalEntry['event']>(event: E) =>
      store
        .audit('site', 1000)
        .filter((entry): entry is Extract<JournalEntry, { event: E }> => entry.event === event),
    repairs: () => store.rollouts('site', 100).filter(({ kind }) => kind === 'repair'),
  };
}
