import type { Clock } from '../domain/clock.ts';
import type { HealthPolicy, StrategyName } from '../domain/policy.ts';
import type { Revision } from '../domain/revision.ts';
import type { Strategy } from '../domain/strategy.ts';
import { Monitor } from '../engine/monitor.ts';
import type { EngineParts } from '../engine/parts.ts';
import { Routing } from '../engine/routing.ts';
import { Templates } from '../engine/templates.ts';
import type { HookRunner } from '../hooks/port.ts';
import type { InstanceSpec } from '../hypervisor/port.ts';
import { VirtualClock } from '../hypervisor/simulated/clock.ts';
import { type Costs, type Incident, SimulatedWorld } from '../hypervisor/simulated/world.ts';
import type { Measures } from '../measure/port.ts';
import type { DataPlane } from '../proxy/port.ts';
import { type SimulatedDataPlane, simulatedDataPlane } from '../proxy/simulated.ts';
import { type MemoryStore, memoryStore } from '../store/memory.ts';
import type { RolloutStore } from '../store/port.ts';
import { strategyOf } from './strategy-of.ts';

export interface Simulation {
  clock: VirtualClock;
  world: SimulatedWorld;
  dataPlane: SimulatedDataPlane;
  store: MemoryStore;
  /**
   * The parts of an engine in this world; each call is a new controller that knows nothing of the one before.
   * `through` may put something between the controller and the world (a controller that dies, say).
   */
  controller(health: HealthPolicy, through?: <T extends object>(part: T) => T): EngineParts;
}

/** A plan runs no command and calls nobody. */
const IDLE_HOOKS: HookRunner = { run: async () => {} };
const GOOD_MEASURES: Measures = {
  open: async () => ({
    measure: async () => ({ value: null, stable: null, sample: null, verdict: 'success', said: 'simulated' }),
  }),
};

/** Everything an engine needs, in simulated time and with simulated guests. */
export function simulation(options: {
  start?: number;
  revisionOf: (service: string, number: number) => Revision | null;
  incidentFor?: (instance: string, spec: InstanceSpec) => Incident | null;
  busy?: (instance: string) => number;
  costs?: Partial<Costs>;
  /** those there are, otherwise */
  strategyOf?: (name: StrategyName) => Promise<Strategy>;
  /** none is run, otherwise */
  hooks?: HookRunner;
  /** all that is measured is good, otherwise */
  measures?: Measures;
}): Simulation {
  const clock = new VirtualClock(options.start);
  const world = new SimulatedWorld(clock, options.incidentFor, options.costs);
  const dataPlane = simulatedDataPlane(clock, options.busy);
  const store = memoryStore(options.revisionOf);
  const controller: Simulation['controller'] = (health, through = (part) => part) => {
    const hypervisor = through(world.hypervisor);
    const time = through<Clock>(clock);
    const prober = through(world.prober);
    const monitor = new Monitor(hypervisor, prober, time, () => health);
    void monitor.run();
    const memory = through<RolloutStore>(store);
    const routing = new Routing(through<DataPlane>(dataPlane), memory);
    return {
      hypervisor,
      monitor,
      routing,
      store: memory,
      clock: time,
      strategyOf: options.strategyOf ?? strategyOf,
      tell: async () => {},
      hooks: through(options.hooks ?? IDLE_HOOKS),
      measures: through(options.measures ?? GOOD_MEASURES),
      templates: new Templates({ hypervisor, monitor, prober, clock: time, atOnce: 4 }),
      onJournal: () => {},
      onOrder: () => () => {},
    };
  };
  return { clock, world, dataPlane, store, controller };
}
