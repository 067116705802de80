import type { Action } from '../domain/action.ts';
import type { Clock } from '../domain/clock.ts';
import type { Evidence, Happening } from '../domain/journal.ts';
import type { StrategyName } from '../domain/policy.ts';
import type { ObservedInstance, ObservedPool } from '../domain/pool.ts';
import { proofs, type Revision, swapMode } from '../domain/revision.ts';
import { goal, type Rollout, type Verdict, verdict } from '../domain/rollout.ts';
import type { RolloutView, Strategy } from '../domain/strategy.ts';
import { type ErrorReport, report, UnideployError } from '../errors.ts';
import type { RolloutStore } from '../store/port.ts';
import { execute, type Task } from './executors.ts';
import { observe, type Senses } from './observe.ts';
import { Signal } from './signal.ts';

/** The longest time between two observations, in ms, when nothing says that something has changed. */
const OBSERVE_AT_LEAST_EVERY = 250;
/** How often one action may be begun on one instance, in one direction: more means that it changes nothing. */
const MOST_ATTEMPTS = 5;
/** Lines of a console kept as evidence. */
const EVIDENCE_LINES = 30;
/** Lines of a console in which they are looked for. */
const CONSOLE_LINES = 300;

export interface EngineParts extends Senses {
  store: RolloutStore;
  clock: Clock;
  strategies: Record<StrategyName, Strategy>;
  /** told of every new journal entry, after it was written */
  onJournal: (rollout: number) => void;
}

/**
 * Moves one open rollout to its end: observe the pool, ask the strategy, perform what it says, observe again.
 * Whatever an earlier controller has done to the pool is simply part of what is observed.
 */
export async function runRollout(parts: EngineParts, id: number): Promise<Rollout> {
  return await new Run(parts, id).toItsEnd();
}

class Run {
  readonly #parts: EngineParts;
  readonly #acting = new Map<string, Action['kind']>();
  readonly #attempts = new Map<string, number>();
  readonly #changed = new Signal();
  readonly #id: number;
  #rollout: Rollout;
  #failure: Failure | null = null;
  #waitingFor = '';
  #evidence: Evidence | null = null;

  constructor(parts: EngineParts, id: number) {
    const rollout = parts.store.rollout(id);
    if (!rollout)
      throw new UnideployError('UD_INTERNAL', `no rollout ${id}`, 'this is a bug: please report it');
    this.#parts = parts;
    this.#id = id;
    this.#rollout = rollout;
  }

  async toItsEnd(): Promise<Rollout> {
    const { hypervisor, monitor } = this.#parts;
    const unsubscribe = [
      hypervisor.onChange(() => this.#changed.raise()),
      monitor.onChange(() => this.#changed.raise()),
    ];
    try {
      await this.#front();
      while (this.#rollout.state === 'open') await this.#step();
      return this.#rollout;
    } finally {
      for (const stop of unsubscribe) stop();
    }
  }

  async #front(): Promise<void> {
    const { service, direction } = this.#rollout;
    const { listen, traffic, revision } = goal(this.#rollout);
    const preview = traffic.preview && direction === 'forward' ? revision : null;
    await this.#parts.routing
      .front(service, { listen, traffic, preview })
      .catch((error: unknown) => this.#fail(error, null));
  }

  async #step(): Promise<void> {
    const acting = new Map(this.#acting);
    const now = this.#parts.clock.now();
    const pool = await this.#observe(acting).catch((error: unknown) => {
      this.#fail(error, null);
      return null;
    });
    if (this.#failure) await this.#turn(this.#failure);
    else if (now - this.#rollout.since > this.#rollout.policy.deadline) await this.#turn(this.#late());
    else if (pool) await this.#decide(pool, now);
    if (this.#rollout.state === 'open') await this.#changed.wait(this.#parts.clock, OBSERVE_AT_LEAST_EVERY);
  }

  async #observe(acting: ReadonlyMap<string, Action['kind']>): Promise<ObservedPool> {
    const now = this.#parts.clock.now();
    const pool = await observe(this.#parts, this.#rollout.service, this.#candidates(), acting);
    const unseen = [...acting].filter(
      ([id, kind]) => kind === 'launch' && !pool.instances.some((i) => i.id === id),
    );
    return {
      ...pool,
      instances: [...pool.instances, ...unseen.map(([id]) => launching(id, goal(this.#rollout), now))],
    };
  }

  async #decide(pool: ObservedPool, now: number): Promise<void> {
    const decision = this.#parts.strategies[this.#rollout.strategy].next(pool, this.#view(), now);
    switch (decision.kind) {
      case 'act':
        this.#waitingFor = '';
        for (const action of decision.actions) this.#start(action);
        break;
      case 'wait':
        if (decision.reason !== this.#waitingFor)
          this.#journal({ event: 'waiting', reason: decision.reason });
        this.#waitingFor = decision.reason;
        break;
      case 'fail': {
        const next = `read its console: unideploy logs ${decision.instance}`;
        const error = new UnideployError(
          'UD_GUEST_UNHEALTHY',
          `${decision.instance} ${decision.reason}`,
          next,
        );
        await this.#turn({ error: error.toJSON(), instance: decision.instance });
        break;
      }
      case 'done':
        if (this.#acting.size === 0) await this.#finish(null);
    }
    await this.#release(pool);
  }

  /** Requests that an earlier controller left waiting go on, unless the swap they wait for is being finished. */
  async #release(pool: ObservedPool): Promise<void> {
    const swapping = [...this.#acting.values()].includes('swapVolume');
    if (pool.hold && !swapping) await this.#parts.routing.hold(this.#rollout.service, false);
  }

  /** Begins an action and goes on; its end wakes the loop. */
  #start(action: Action): void {
    if (this.#acting.has(action.instance)) return;
    const attempt = `${action.kind} of ${action.instance}`;
    const attempts = (this.#attempts.get(attempt) ?? 0) + 1;
    this.#attempts.set(attempt, attempts);
    if (attempts > MOST_ATTEMPTS) {
      this.#fail(inVain(attempt), action.instance);
      return;
    }
    const { clock, store } = this.#parts;
    const began = clock.now();
    this.#acting.set(action.instance, action.kind);
    if (action.kind === 'launch') this.#rollout.launches += 1;
    store.updateRollout(this.#rollout);
    this.#journal({ event: 'action-started', action, revision: goal(this.#rollout).revision });
    const task = this.#task();
    void execute(action, task)
      .then(() => this.#journal({ event: 'action-finished', action, ms: clock.now() - began }))
      .catch((error: unknown) => {
        this.#journal({ event: 'action-failed', action, ms: clock.now() - began, error: report(error) });
        if (task.rollout.direction === this.#rollout.direction) this.#fail(error, action.instance);
      })
      .finally(() => {
        this.#acting.delete(action.instance);
        this.#changed.raise();
      });
  }

  #fail(error: unknown, instance: string | null): void {
    this.#failure ??= { error: report(error), instance };
  }

  /** A failure on the way forward turns the rollout back; one on the way back ends it, for a person to look at. */
  async #turn({ error, instance }: Failure): Promise<void> {
    this.#failure = null;
    const findEvidence = async () => (instance === null ? null : await this.#findEvidence(instance));
    if (this.#rollout.direction === 'back') return await this.#finish(error, await findEvidence());
    this.#attempts.clear();
    // At once: what else was begun on the way forward, and fails while the evidence is looked for, is no failure of the way back.
    this.#rollout = { ...this.#rollout, direction: 'back', since: this.#parts.clock.now(), reason: error };
    this.#evidence = await findEvidence();
    this.#parts.store.updateRollout(this.#rollout);
    const to = this.#rollout.from.revision;
    this.#journal({ event: 'rollback-started', to, reason: error, evidence: this.#evidence });
    await this.#front();
    this.#changed.raise();
  }

  /** @param stuck why it could not even go back; null when it has reached its goal */
  async #finish(stuck: ErrorReport | null, evidence: Evidence | null = this.#evidence): Promise<void> {
    const { store, clock, routing } = this.#parts;
    const { revision } = goal(this.#rollout);
    const { service, id, startedAt, policy } = this.#rollout;
    if (!stuck)
      await (revision === null ? routing.remove(service, policy.drain) : routing.preview(service, null));
    const ended: Verdict = stuck ? 'failed' : verdict(this.#rollout);
    const endedAt = clock.now();
    this.#rollout = { ...this.#rollout, state: ended, reason: stuck ?? this.#rollout.reason, endedAt };
    const target = this.#target();
    store.closeRollout(this.#rollout, {
      event: 'rollout-finished',
      verdict: ended,
      reason: this.#rollout.reason,
      ms: endedAt - startedAt,
      evidence,
      verified: stuck === null && (target === null || proofs(target).length > 0),
    });
    if (revision === null && !stuck) store.removeService(service);
    this.#parts.onJournal(id);
  }

  async #findEvidence(instance: string): Promise<Evidence> {
    const { hypervisor, monitor } = this.#parts;
    const console = telling(await hypervisor.console(instance, CONSOLE_LINES).catch(() => []));
    return { instance, lastAnswer: monitor.reading(instance).last?.summary ?? null, console };
  }

  #late(): Failure {
    const { policy, service } = this.#rollout;
    const waiting = this.#waitingFor ? `, waiting for ${this.#waitingFor}` : '';
    const message = `the rollout did not end within ${policy.deadline / 1000} s${waiting}`;
    const next = `look at unideploy status --service ${service}, or raise rollout.deadline`;
    return { error: new UnideployError('UD_DEADLINE', message, next).toJSON(), instance: null };
  }

  #task(): Task {
    const volumes = this.#candidates().flatMap((revision) => revision.volumes);
    return { ...this.#parts, rollout: this.#rollout, target: this.#target(), volumes };
  }

  #view(): RolloutView {
    const { service, policy, health, since, launches } = this.#rollout;
    const { revision, replicas } = goal(this.#rollout);
    return {
      target: revision,
      replicas,
      policy,
      health,
      swap: swapMode(this.#target()),
      since,
      freshId: (ordinal) => `${service}-${this.#id}-${launches + ordinal + 1}`,
    };
  }

  #target(): Revision | null {
    return this.#revision(goal(this.#rollout).revision);
  }

  /** The goal's revision first: of two that are alike an instance counts as the goal's. */
  #candidates(): Revision[] {
    const { from, to } = this.#rollout;
    const numbers = new Set([goal(this.#rollout).revision, from.revision, to.revision]);
    return [...numbers].map((number) => this.#revision(number)).filter((revision) => revision !== null);
  }

  #revision(number: number | null): Revision | null {
    return number === null ? null : this.#parts.store.revision(this.#rollout.service, number);
  }

  #journal(happening: Happening): void {
    this.#parts.store.append(this.#rollout, this.#parts.clock.now(), happening);
    this.#parts.onJournal(this.#id);
  }
}

interface Failure {
  error: ErrorReport;
  instance: string | null;
}

/** The last lines; where a kernel has panicked, those around its first word on it: the trace after it says less. */
function telling(lines: string[]): string[] {
  const panic = lines.findLastIndex((line) => /(?<!end )Kernel panic/.test(line));
  return panic < 0
    ? lines.slice(-EVIDENCE_LINES)
    : lines.slice(Math.max(0, panic - 5)).slice(0, EVIDENCE_LINES);
}

function inVain(attempt: string): UnideployError {
  const message = `${attempt} was done ${MOST_ATTEMPTS} times and changed nothing`;
  return new UnideployError('UD_DEADLINE', message, 'look at the instance: unideploy status, unideploy logs');
}

/** An instance whose launch has begun and that nothing shows yet. */
function launching(id: string, { revision }: { revision: number | null }, now: number): ObservedInstance {
  return {
    id,
    revision,
    verified: false,
    health: 'unknown',
    state: 'starting',
    launchedAt: now,
    weight: 0,
    inFlight: 0,
    acting: 'launch',
  };
}
