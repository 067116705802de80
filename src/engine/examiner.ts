import type { Clock } from '../domain/clock.ts';
import { isStale, remember, type Sample, shortage } from '../domain/memory.ts';
import { answered, type Counted, countOn, outlier } from '../domain/outlier.ts';
import type { ObservedInstance } from '../domain/pool.ts';
import type { Revision } from '../domain/revision.ts';
import { type Diagnosis, diagnose, needsConsole } from '../domain/supervision.ts';
import type { VirtualMachine } from '../hypervisor/port.ts';
import type { Figures } from '../proxy/port.ts';
import type { Service } from '../store/port.ts';
import { observe, type Senses } from './observe.ts';

/** Lines of a console in which the word on a panic is looked for. */
const CONSOLE_LINES = 300;
/** A guest tells of its memory every second; one that has not for so long, ms, does not any more. */
const SILENT_AFTER = 6_000;

/** One instance of a service as it was found. */
export interface Examined {
  instance: ObservedInstance;
  /** null: nothing is wrong with it */
  diagnosis: Diagnosis | null;
  /** what QEMU said of it, in a line; null: nothing */
  machine: string | null;
}

/** How many health checks long is the time over which answers to clients are compared. */
const COMPARED_INTERVALS = 3;

/** Gathers what the instances of a service are judged by, and judges them. */
export class Examiner {
  readonly #parts: Senses & { clock: Clock };
  /** of each instance, what it said of its memory */
  readonly #memory = new Map<string, readonly Sample[]>();
  /** of each instance, what the data plane has counted */
  readonly #counts = new Map<string, readonly Counted[]>();
  /** what was found at instances that answer their checks well: without requests nothing speaks for them any more */
  readonly #worn = new Map<string, Diagnosis>();

  constructor(parts: Senses & { clock: Clock }) {
    this.#parts = parts;
  }

  /** The instances of the service that are of its revision. */
  async examine(service: Service, revision: Revision): Promise<Examined[]> {
    const machines = await this.#parts.hypervisor.list();
    const known = new Set(machines.map(({ spec }) => spec.id));
    for (const each of [this.#memory, this.#counts, this.#worn])
      for (const id of each.keys()) if (!known.has(id)) each.delete(id);
    const { instances } = await observe(this.#parts, service.name, [revision], new Map());
    const ours = instances.filter((instance) => instance.revision === revision.number);
    const answers = await this.#compare(service, ours);
    return await Promise.all(
      ours.flatMap((instance) => {
        const machine = machines.find(({ spec }) => spec.id === instance.id);
        const worse = answers.get(instance.id) ?? null;
        return machine ? [this.#examine(service, instance, machine, worse)] : [];
      }),
    );
  }

  async #examine(
    { supervision, health }: Service,
    instance: ObservedInstance,
    { spec, state, runState }: VirtualMachine,
    worse: string | null,
  ): Promise<Examined> {
    const { hypervisor, monitor, clock } = this.#parts;
    const vitals = await hypervisor.vitals(spec.id);
    const samples = remember(this.#memory.get(spec.id) ?? [], vitals.memory);
    this.#memory.set(spec.id, samples);
    const reading = monitor.reading(spec.id);
    const now = clock.now();
    const found = diagnose({
      profile: spec.machine.profile,
      state: state === 'frozen' ? 'stopped' : state,
      runState,
      vitals,
      reading,
      console: needsConsole({ runState, reading })
        ? await hypervisor.console(spec.id, CONSOLE_LINES).catch(() => [])
        : [],
      patterns: supervision.console,
      outlier: worse,
      memory: supervision.memory && shortage(samples, supervision.memory),
      silent: isStale(samples.at(-1) ?? null, now, SILENT_AFTER),
      young: !instance.routed && now - spec.launchedAt <= health.deadline,
    });
    const diagnosis = found ?? (instance.weight === 0 ? this.#worn.get(spec.id) : null) ?? null;
    if (diagnosis && reading.health === 'healthy') this.#worn.set(spec.id, diagnosis);
    else this.#worn.delete(spec.id);
    const words = [runState ?? state, ...vitals.events];
    return { instance, diagnosis, machine: words.length > 0 ? words.join(', ') : null };
  }

  /** Which of the instances answer clients worse than the others do, and how. */
  async #compare(
    { name, goal, supervision, health }: Service,
    instances: ObservedInstance[],
  ): Promise<Map<string, string | null>> {
    const { errors } = supervision;
    // One client that stays with one instance could have it replaced by what it asks for.
    if (errors === null || goal.traffic.sticky !== null || instances.length < 2) return new Map();
    const figures = await this.#parts.routing.figures(name).catch(() => []);
    const at = this.#parts.clock.now();
    for (const { id } of instances) {
      const own = figures.filter(({ instance }) => instance === id).map((each) => countedOf(each, at));
      const now = own.reduce(sum, { at, answers: 0, errors: 0 });
      const past = this.#counts.get(id) ?? [];
      this.#counts.set(id, countOn(past, now, COMPARED_INTERVALS * health.interval));
    }
    const of = ({ id }: ObservedInstance) => answered(this.#counts.get(id) ?? []);
    return new Map(
      instances.map((each) => {
        const others = instances.filter((other) => other !== each).map(of);
        return [each.id, outlier(of(each), others, errors)];
      }),
    );
  }
}

function countedOf({ status, broken }: Figures, at: number): Counted {
  const answers = Object.values(status).reduce((all, count) => all + count, broken);
  return { at, answers, errors: status['5xx'] + broken };
}

function sum(a: Counted, b: Counted): Counted {
  return { at: a.at, answers: a.answers + b.answers, errors: a.errors + b.errors };
}
