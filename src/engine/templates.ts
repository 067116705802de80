import type { Clock } from '../domain/clock.ts';
import type { Happening } from '../domain/journal.ts';
import type { HealthPolicy } from '../domain/policy.ts';
import { proofs } from '../domain/revision.ts';
import { report, UnideployError } from '../errors.ts';
import type { Copying, Endpoint, Hypervisor, InstanceSpec, VirtualMachine } from '../hypervisor/port.ts';
import type { Prober } from '../probe/port.ts';
import type { Monitor } from './monitor.ts';

/** What a guest answers within that only has to go on where its parent stood, in ms; busy hosts included. */
const COPY_ANSWERS_WITHIN = 15_000;
/** Milliseconds for one attempt to wake a copy, at least: emulation is slow where code runs for the first time. */
const WAKE_TIMEOUT = 2_000;
const WAKE_AGAIN_AFTER = 50;
/** `guest.wake` of guests that need no telling. */
const NO_WORDS = 'none';

interface TemplatesParts {
  hypervisor: Hypervisor;
  monitor: Monitor;
  prober: Prober;
  clock: Clock;
  /** copies that are started side by side: more of them make each slow, and none of them sooner */
  atOnce: number;
}

/** The launch that an instance is started for. */
export interface Launch {
  rollout: number;
  health: HealthPolicy;
  /** whether further ones are to be started: it is worth while to make a template */
  several: () => Promise<boolean>;
  tell: (happening: Happening) => void;
}

/** Starts instances, as copies of a template where that may be, and otherwise by booting them. */
export class Templates {
  readonly #parts: TemplatesParts;
  /** by the key of the template */
  readonly #making = new Map<string, Promise<boolean>>();
  /** the rollout in which a template turned out to be of no use, by its key: not tried again in it */
  readonly #broken = new Map<string, number>();
  readonly #waiting: (() => void)[] = [];
  #copying = 0;

  constructor(parts: TemplatesParts) {
    this.#parts = parts;
  }

  /** Resolves when the instance runs: a copy has proven its revision then, others are yet to boot. */
  async launch(spec: InstanceSpec, launch: Launch): Promise<void> {
    const { hypervisor, clock } = this.#parts;
    const key = await this.#templateFor(spec, launch);
    if (key !== null && (await this.#inTurn(() => this.#copy(spec, key, launch)))) return;
    await hypervisor.launch({ ...spec, launchedAt: clock.now() });
  }

  /** The key of a template that is there; null: it has to boot. */
  async #templateFor(spec: InstanceSpec, launch: Launch): Promise<string | null> {
    if (spec.machine.wake === undefined) return null;
    const { key, isMade } = await this.#parts.hypervisor.templateFor(spec);
    if (this.#broken.get(key) === launch.rollout) return null;
    const making = this.#making.get(key);
    if (making === undefined && isMade) return key;
    if (making === undefined && !(await launch.several())) return null;
    return (await (this.#making.get(key) ?? this.#make(key, spec, launch))) ? key : null;
  }

  /** Makes it once, whoever asks for it meanwhile. */
  #make(key: string, spec: InstanceSpec, launch: Launch): Promise<boolean> {
    const made = this.#tryToMake(key, spec, launch).finally(() => this.#making.delete(key));
    this.#making.set(key, made);
    return made;
  }

  async #tryToMake(key: string, spec: InstanceSpec, { rollout, health, tell }: Launch): Promise<boolean> {
    const { hypervisor, clock } = this.#parts;
    const began = clock.now();
    try {
      // Another one may have made it since it was asked for.
      if ((await hypervisor.templateFor(spec)).isMade) return true;
      await hypervisor.makeTemplate(spec, (guest) => this.#verify(guest, health, health.deadline));
      tell({ event: 'template-made', template: key, revision: spec.revision, ms: clock.now() - began });
      return true;
    } catch (error) {
      this.#broken.set(key, rollout);
      tell({ event: 'template-broken', template: key, instance: spec.id, error: report(error) });
      return false;
    }
  }

  /** False, and nothing left of it, where it came to nothing: then the template is no more. */
  async #copy(spec: InstanceSpec, key: string, launch: Launch): Promise<boolean> {
    if (this.#broken.get(key) === launch.rollout) return false;
    const { hypervisor, clock } = this.#parts;
    const began = clock.now();
    try {
      const copy = { ...spec, launchedAt: began };
      let reached: Endpoint | null = null;
      const wake: Copying['wake'] = async ({ endpoint, mac }) => {
        reached = endpoint;
        await this.#wake(copy, endpoint, mac, launch.health);
      };
      await hypervisor.launch(copy, { key, wake });
      const { volumes } = copy;
      const machine = {
        spec: copy,
        state: 'running',
        runState: 'running',
        endpoint: reached,
        volumes,
      } as const;
      await this.#verify(machine, launch.health, COPY_ANSWERS_WITHIN);
      launch.tell({ event: 'copied', instance: spec.id, template: key, ms: clock.now() - began });
      return true;
    } catch (error) {
      this.#broken.set(key, launch.rollout);
      launch.tell({ event: 'template-broken', template: key, instance: spec.id, error: report(error) });
      await hypervisor.removeTemplate(key);
      await hypervisor.stop(spec.id, 0);
      await hypervisor.remove(spec.id);
      return false;
    }
  }

  async #wake(
    { id, machine }: InstanceSpec,
    endpoint: Endpoint,
    mac: string,
    { timeout }: HealthPolicy,
  ): Promise<void> {
    const { prober, clock } = this.#parts;
    const { wake: path = NO_WORDS } = machine;
    if (path === NO_WORDS) return;
    const end = clock.now() + COPY_ANSWERS_WITHIN;
    for (;;) {
      const identity = { id, mac, time: clock.now() };
      const answer = await prober.wake(endpoint, {
        path,
        identity,
        timeout: Math.max(timeout, WAKE_TIMEOUT),
      });
      if (answer.heard) return;
      if (clock.now() >= end)
        throw new UnideployError(
          'UD_TEMPLATE',
          `${id}, a copy of another guest, was not woken by POST ${path}: ${answer.summary}`,
          'see what the guest does there: docs/guests.md; without guest.wake guests are never copied',
        );
      await clock.sleep(WAKE_AGAIN_AFTER);
    }
  }

  async #verify(guest: VirtualMachine, health: HealthPolicy, deadline: number): Promise<void> {
    const { monitor } = this.#parts;
    if (await monitor.until(guest, proofs(guest.spec), health, deadline)) return;
    const said = monitor.reading(guest.spec.id).last?.summary ?? 'nothing';
    throw unready(guest.spec.id, `within ${deadline / 1000} s its last answer was: ${said}`);
  }

  /** Runs the task when fewer than `atOnce` others run. */
  async #inTurn<T>(task: () => Promise<T>): Promise<T> {
    if (this.#copying >= this.#parts.atOnce) await new Promise<void>((go) => this.#waiting.push(go));
    else this.#copying += 1;
    try {
      return await task();
    } finally {
      const next = this.#waiting.shift();
      if (next) next();
      else this.#copying -= 1;
    }
  }
}

function unready(id: string, why: string): UnideployError {
  return new UnideployError(
    'UD_GUEST_UNHEALTHY',
    `${id} was not ready: ${why}`,
    'guests of this revision boot without a template; read the console of one: unideploy logs INSTANCE',
  );
}
