import type { Clock } from '../domain/clock.ts';
import { isStale, remember, type Sample, shortage } from '../domain/memory.ts';
import type { ObservedInstance } from '../domain/pool.ts';
import type { Revision } from '../domain/revision.ts';
import { type Diagnosis, diagnose, needsConsole } from '../domain/supervision.ts';
import type { VirtualMachine } from '../hypervisor/port.ts';
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

/** Gathers what the instances of a service are judged by, and judges them. */
export class Examiner {
  readonly #parts: Senses & { clock: Clock };
  /** of each instance, what it said of its memory */
  readonly #memory = new Map<string, readonly Sample[]>();

  constructor(parts: Senses & { clock: Clock }) {
    this.#parts = parts;
  }

  /** The instances of the service that are of its revision. */
  async examine(service: Service, revision: Revision): Promise<Examined[]> {
    const machines = await this.#parts.hypervisor.list();
    const known = new Set(machines.map(({ spec }) => spec.id));
    for (const id of this.#memory.keys()) if (!known.has(id)) this.#memory.delete(id);
    const { instances } = await observe(this.#parts, service.name, [revision], new Map());
    const ours = instances.filter((instance) => instance.revision === revision.number);
    return await Promise.all(
      ours.flatMap((instance) => {
        const machine = machines.find(({ spec }) => spec.id === instance.id);
        return machine ? [this.#examine(service, instance, machine)] : [];
      }),
    );
  }

  async #examine(
    { supervision, health }: Service,
    instance: ObservedInstance,
    { spec, state, runState }: VirtualMachine,
  ): Promise<Examined> {
    const { hypervisor, monitor, clock } = this.#parts;
    const vitals = await hypervisor.vitals(spec.id);
    const samples = remember(this.#memory.get(spec.id) ?? [], vitals.memory);
    this.#memory.set(spec.id, samples);
    const reading = monitor.reading(spec.id);
    const now = clock.now();
    const diagnosis = diagnose({
      profile: spec.machine.profile,
      state: state === 'frozen' ? 'stopped' : state,
      runState,
      vitals,
      reading,
      console: needsConsole({ runState, reading })
        ? await hypervisor.console(spec.id, CONSOLE_LINES).catch(() => [])
        : [],
      patterns: supervision.console,
      memory: supervision.memory && shortage(samples, supervision.memory),
      silent: isStale(samples.at(-1) ?? null, now, SILENT_AFTER),
      young: !instance.routed && now - spec.launchedAt <= health.deadline,
    });
    const words = [runState ?? state, ...vitals.events];
    return { instance, diagnosis, machine: words.length > 0 ? words.join(', ') : null };
  }
}
