import type { Clock } from '../domain/clock.ts';
import { type Answers, proven, type Reading, read, UNREAD } from '../domain/health.ts';
import type { HealthPolicy } from '../domain/policy.ts';
import type { Proof } from '../domain/revision.ts';
import type { Hypervisor, InstanceSpec, VirtualMachine } from '../hypervisor/port.ts';
import type { Prober } from '../probe/port.ts';
import { Signal } from './signal.ts';

/** How often an instance is asked that has not been healthy yet, in ms: often enough to be quick, and no load. */
const STARTING_INTERVAL = 200;
/** How often it is looked whether one in doubt is to be asked again, ms; it is asked four times in an interval at most. */
const IN_DOUBT_TICK = 50;
/** Bounds of the polling after a volume was attached, in ms: each poll costs an emulated guest a tenth of the swap's CPU. */
const FIRST_POLL = 20;
const SLOWEST_POLL = 100;
/** The longest time without a poll, ms, however long guests of the service took before. */
const MOST_PATIENCE = 500;
/** Of the time that guests took lately a guest is given so much before it is asked. */
const PATIENCE = 0.75;
/** How much the last one counts in that time. */
const LAST_COUNTS = 0.3;
/** Of the time after which a guest had proven it when it was first asked so much counts: it may have been ready before. */
const READY_BEFORE = 0.75;

/** Asks every instance for its health and its revision, and remembers what it answered. */
export class Monitor {
  readonly #hypervisor: Hypervisor;
  readonly #prober: Prober;
  readonly #clock: Clock;
  readonly #policyOf: (service: string) => HealthPolicy | null;
  readonly #readings = new Map<string, Reading>();
  readonly #asking = new Set<string>();
  /** by service: how long its guests took lately from a change until they had proven it, ms */
  readonly #settling = new Map<string, number>();
  /** when each was last asked, epoch milliseconds */
  readonly #askedAt = new Map<string, number>();
  readonly #listeners = new Set<(id: string) => void>();
  readonly #wake = new Signal();
  #stopped = false;

  constructor(
    hypervisor: Hypervisor,
    prober: Prober,
    clock: Clock,
    /** null: the service is not known any more, and its instances are left alone */
    policyOf: (service: string) => HealthPolicy | null,
  ) {
    this.#hypervisor = hypervisor;
    this.#prober = prober;
    this.#clock = clock;
    this.#policyOf = policyOf;
  }

  /** Asks for ever, until `stop`. */
  async run(): Promise<void> {
    // One that is known is asked when its time comes, whatever else its machine tells: of a hundred there is always one that does.
    const unsubscribe = this.#hypervisor.onChange((id) => {
      if (!this.#readings.has(id)) this.#wake.raise();
    });
    while (!this.#stopped) {
      const machines = await this.#hypervisor.list().catch(() => null);
      if (machines) this.#askAll(machines);
      await this.#wake.wait(this.#clock, this.#anyInDoubt() ? IN_DOUBT_TICK : STARTING_INTERVAL);
    }
    unsubscribe();
  }

  stop(): void {
    this.#stopped = true;
    this.#wake.raise();
  }

  reading(id: string): Reading {
    return this.#readings.get(id) ?? UNREAD;
  }

  /** It serves something else from now on: how long it has been healthy is counted anew. */
  restart(id: string): void {
    const reading = this.#readings.get(id);
    if (reading) this.#readings.set(id, { ...reading, since: null });
  }

  /** Calls back when an instance's health or an answer of its has changed. Returns the way to unsubscribe. */
  onChange(listener: (id: string) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Asks now, and returns the answers. */
  async ask(machine: VirtualMachine, policy: HealthPolicy): Promise<Answers> {
    const answers = machine.endpoint
      ? await this.#prober.ask(machine.endpoint, { ...paths(machine.spec), timeout: policy.timeout })
      : { healthy: false, summary: 'no address yet', bodies: {} };
    this.#record(machine.spec.id, answers, policy);
    return answers;
  }

  /**
   * Asks again and again until the instance has proven itself and is healthy with that. False when `deadline` ms have passed.
   * One that proves something else by its last answers is only about to change: it is given a moment before it is asked.
   */
  async until(
    machine: VirtualMachine,
    expected: Proof[],
    policy: HealthPolicy,
    deadline: number,
  ): Promise<boolean> {
    const began = this.#clock.now();
    const end = began + deadline;
    const { id, service } = machine.spec;
    let unasked: { error: unknown } | null = null;
    let answers: Answers | null = null;
    const holds = async () => {
      try {
        answers = await this.#prove(machine, expected, policy);
        unasked = null;
        return answers?.healthy === true;
      } catch (error) {
        unasked = { error };
        return false;
      }
    };
    const { last, bodies } = this.reading(id);
    const isUnproven = !proven(expected, bodies);
    // One that has just been started tells nothing of how long a change takes.
    const isChanging = isUnproven && last?.healthy === true;
    const patience = isChanging ? Math.min(this.#patience(service), deadline / 2) : 0;
    if (isUnproven) await this.#clock.sleep(Math.max(FIRST_POLL, patience));
    for (let pause = FIRST_POLL; ; pause = Math.min(pause * 1.3, SLOWEST_POLL)) {
      if (await holds()) {
        const ms = this.#clock.now() - began;
        if (isChanging) this.#settled(service, pause === FIRST_POLL ? ms * READY_BEFORE : ms);
        return true;
      }
      if (this.#clock.now() >= end) break;
      await this.#clock.sleep(pause);
    }
    if (unasked) throw (unasked as { error: unknown }).error;
    // How healthy it is with what it has is evidence.
    if (answers === null) await this.ask(machine, policy);
    return false;
  }

  #patience(service: string): number {
    return Math.min((this.#settling.get(service) ?? 0) * PATIENCE, MOST_PATIENCE);
  }

  #settled(service: string, ms: number): void {
    const before = this.#settling.get(service) ?? 0;
    this.#settling.set(service, before + (ms - before) * LAST_COUNTS);
  }

  /** Null: it proves something else. */
  async #prove(machine: VirtualMachine, expected: Proof[], policy: HealthPolicy): Promise<Answers | null> {
    const { endpoint, spec } = machine;
    if (expected.length === 0 || !endpoint) return await this.ask(machine, policy);
    const answers = await this.#prober.prove(endpoint, expected, {
      healthPath: spec.checks.healthPath,
      timeout: policy.timeout,
    });
    if (answers) this.#record(spec.id, answers, policy);
    return answers;
  }

  #askAll(machines: VirtualMachine[]): void {
    const known = new Set(machines.map(({ spec }) => spec.id));
    for (const id of this.#readings.keys()) {
      if (known.has(id)) continue;
      this.#readings.delete(id);
      this.#askedAt.delete(id);
    }
    const policies = new Map<string, HealthPolicy | null>();
    for (const machine of machines) {
      const { id, service } = machine.spec;
      if (!policies.has(service)) policies.set(service, this.#policyOf(service));
      const policy = policies.get(service);
      if (!policy || machine.state !== 'running' || this.#asking.has(id) || !this.#isDue(id, policy))
        continue;
      this.#asking.add(id);
      this.#askedAt.set(id, this.#clock.now());
      // A host that cannot ask (too many open files) has learned nothing of the instance.
      void this.ask(machine, policy)
        .catch(() => {})
        .finally(() => {
          this.#asking.delete(id);
          if (isInDoubt(this.reading(id))) this.#wake.raise();
        });
    }
  }

  #isDue(id: string, policy: HealthPolicy): boolean {
    const reading = this.reading(id);
    const now = this.#clock.now();
    if (isInDoubt(reading)) return now - (this.#askedAt.get(id) ?? 0) >= policy.interval / 4;
    const interval =
      reading.health === 'healthy' ? policy.interval : Math.min(policy.interval, STARTING_INTERVAL);
    return now - reading.at >= interval;
  }

  #anyInDoubt(): boolean {
    return [...this.#readings.values()].some(isInDoubt);
  }

  #record(id: string, answers: Answers, policy: HealthPolicy): void {
    const before = this.reading(id);
    const after = read(before, answers, policy, this.#clock.now());
    this.#readings.set(id, after);
    const same =
      before.health === after.health &&
      JSON.stringify(before.last?.bodies) === JSON.stringify(answers.bodies);
    if (!same) for (const listener of this.#listeners) listener(id);
  }
}

/** It was healthy, and its last answer was bad: whether it is sick is to be known soon. */
function isInDoubt({ health, last }: Reading): boolean {
  return health === 'healthy' && last?.healthy === false;
}

function paths({ checks, volumes }: InstanceSpec): { healthPath: string; probePaths: string[] } {
  const { healthPath, revisionPath } = checks;
  if (revisionPath === null) return { healthPath, probePaths: [] };
  return { healthPath, probePaths: volumes.length > 0 ? volumes.map(({ probe }) => probe) : [revisionPath] };
}
