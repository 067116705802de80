import { type Action, instancesOf } from '../domain/action.ts';
import type { Clock } from '../domain/clock.ts';
import { type Gate, type GateState, hookGate, promotable } from '../domain/gate.ts';
import type { HookFacts, HookPoint } from '../domain/hooks.ts';
import type { Evidence, Happening } from '../domain/journal.ts';
import { obey } from '../domain/obey.ts';
import type { Swapped } from '../domain/pace.ts';
import type { StrategyName } from '../domain/policy.ts';
import type { ObservedInstance, ObservedPool } from '../domain/pool.ts';
import { proofs } from '../domain/revision.ts';
import {
  endsAll,
  goal,
  overdue,
  type Rollout,
  standStill,
  underWay,
  type Verdict,
  verdict,
} from '../domain/rollout.ts';
import type { Decision, Strategy } from '../domain/strategy.ts';
import { type ErrorReport, report, UnideployError } from '../errors.ts';
import type { HookRunner } from '../hooks/port.ts';
import type { Measures, Subject } from '../measure/port.ts';
import type { Happened, Left, RolloutStore } from '../store/port.ts';
import { analyse } from './analysis.ts';
import { findEvidence } from './evidence.ts';
import { execute, type Task } from './executors.ts';
import { aborted, type Failure, inVain, nobodyCame, tooLate } from './failures.ts';
import { Gatekeeper } from './gates.ts';
import { observe, type Senses } from './observe.ts';
import { Signal } from './signal.ts';
import type { Templates } from './templates.ts';
import { candidatesOf, targetOf, viewOf } from './view.ts';

/** The longest time between two observations, in ms, when nothing says that something has changed. */
const OBSERVE_AT_LEAST_EVERY = 250;
/** How often one action may be begun on one instance, in one direction: more means that it changes nothing. */
const MOST_ATTEMPTS = 5;

/** The longest time, in ms, for which a guest that was swapped in traffic is in the table as of what it served before. */
const RELABEL_WITHIN = 100;

/** How many instances may go by themselves on the way back: more means that the revision does not live here any more. */
const MOST_LOST = 5;

/** How long the pool may not be seen before that counts as a failure, in ms: a data plane is started again meanwhile. */
const BLIND_FOR = 10_000;

export interface EngineParts extends Senses {
  store: RolloutStore;
  clock: Clock;
  strategyOf: (name: StrategyName) => Promise<Strategy>;
  hooks: HookRunner;
  measures: Measures;
  templates: Templates;
  /** told of every new journal entry, after it was written */
  onJournal: (rollout: number) => void;
  /** calls back when somebody has told a rollout something; returns the way to unsubscribe */
  onOrder: (rollout: number, listener: () => void) => () => void;
}

/**
 * Moves one open rollout to its end: observe the pool, ask the strategy, perform what it says, observe again.
 * Whatever an earlier controller has done to the pool is simply part of what is observed.
 *
 * @param leaving once it is aborted nothing more is begun or written: what was cut short is no failure of the rollout,
 *   which stays open for the next controller
 */
export async function runRollout(
  parts: EngineParts,
  id: number,
  leaving: AbortSignal = new AbortController().signal,
): Promise<Rollout> {
  const rollout = parts.store.rollout(id);
  if (!rollout)
    throw new UnideployError('UD_INTERNAL', `no rollout ${id}`, 'this is a bug: please report it');
  const strategy = await parts.strategyOf(rollout.strategy);
  return await new Run(parts, rollout, strategy, leaving).toItsEnd();
}

/** An action that is about to be performed. */
interface Begun {
  action: Action;
  instances: string[];
  attempts: number;
  /** whose failure its own would be */
  culprit: string | null;
}

class Run {
  readonly #parts: EngineParts;
  readonly #strategy: Strategy;
  readonly #acting = new Map<string, Action['kind']>();
  readonly #attempts = new Map<string, number>();
  /** instances whose machine has gone by itself, in the present direction */
  readonly #lost = new Set<string>();
  readonly #changed = new Signal();
  readonly #id: number;
  readonly #leaving: AbortSignal;
  /** while it writes into the journal itself: what comes then is no order */
  #writing = false;
  #rollout: Rollout;
  #gates: Gatekeeper;
  #fronted = false;
  #failure: Failure | null = null;
  #waitingFor = '';
  #evidence: Evidence | null = null;
  #blindSince: number | null = null;
  /** an action has ended, and the store did not take it */
  #unrecorded: { error: unknown } | null = null;
  /** actions that have ended, to be written with what is begun next, or when nothing is */
  #ended: Happened[] = [];
  /** in the present direction */
  #swapped: Swapped[] = [];
  #relabelledAt = Number.NEGATIVE_INFINITY;
  /** it is done, and instances stay that are no part of its goal */
  #leaves = false;
  /** the hooks of a rollback, which nothing waits for until the end */
  #onRollback: Promise<void> = Promise.resolve();

  constructor(parts: EngineParts, rollout: Rollout, strategy: Strategy, leaving: AbortSignal) {
    this.#parts = parts;
    this.#leaving = leaving;
    this.#id = rollout.id;
    this.#rollout = rollout;
    this.#strategy = strategy;
    this.#gates = this.#gatekeeper();
  }

  async toItsEnd(): Promise<Rollout> {
    const { hypervisor, monitor, onOrder } = this.#parts;
    const wake = () => this.#changed.raise();
    // What an instance does in the course of an action is looked at when the action ends.
    const changed = (id: string) => {
      if (!this.#acting.has(id)) wake();
    };
    const ordered = () => {
      if (!this.#writing) wake();
    };
    const unsubscribe = [hypervisor.onChange(changed), monitor.onChange(changed), onOrder(this.#id, ordered)];
    this.#leaving.addEventListener('abort', wake);
    try {
      while (this.#rollout.state === 'open' && !this.#leaving.aborted) await this.#step();
      return this.#rollout;
    } finally {
      this.#leaving.removeEventListener('abort', wake);
      this.#gates.close();
      // Whoever takes it up again finds nothing under way.
      while (this.#acting.size > 0) await this.#changed.wait(this.#parts.clock, OBSERVE_AT_LEAST_EVERY);
      for (const stop of unsubscribe) stop();
    }
  }

  async #step(): Promise<void> {
    if (this.#unrecorded) throw this.#unrecorded.error;
    this.#hear();
    const { ending, direction, paused } = this.#rollout;
    const now = this.#parts.clock.now();
    if (ending?.how === 'supersede') await this.#giveWay(ending.by);
    else if (this.#failure) await this.#turn(this.#failure);
    else if (ending?.how === 'abort' && direction === 'forward') await this.#turn(aborted(ending.by));
    else if (paused) this.#stand(true);
    else {
      const late = overdue(this.#rollout, now);
      if (late) await this.#turn(tooLate(this.#rollout.service, late, this.#waitingFor));
      else await this.#goOn();
    }
    if (this.#ended.length > 0) this.#write();
    if (this.#rollout.state === 'open') await this.#changed.wait(this.#parts.clock, OBSERVE_AT_LEAST_EVERY);
  }

  async #goOn(): Promise<void> {
    if (this.#rollout.direction === 'forward' && !this.#isPassed(hookGate('pre-rollout'))) return;
    if (!this.#fronted) await this.#front();
    const pool = await this.#see();
    if (this.#failure === null && pool) await this.#decide(pool, this.#parts.clock.now());
  }

  /** Obeys what people have told the rollout since the last look. */
  #hear(): void {
    const orders = this.#parts.store.orders(this.#id, this.#rollout.heard);
    for (const order of orders) this.#rollout = obey(this.#rollout, order);
    if (orders.length === 0) return;
    for (const order of orders) {
      if (order.event === 'ordered' && order.how === 'promote') this.#promote(order.by);
    }
    this.#save();
  }

  /** Opens the gate that the rollout stands at, unless hooks keep it shut: nobody goes past those. */
  #promote(by: string): void {
    for (const key of promotable(this.#rollout.gates)) this.#pass(key, by);
  }

  async #front(): Promise<void> {
    const { service, direction, from } = this.#rollout;
    const { listen, traffic, revision } = goal(this.#rollout);
    this.#fronted = true;
    // What has not been fronted before is not fronted for its end.
    if (direction === 'back' && revision === null) return;
    const other = revision !== from.revision;
    const preview = traffic.preview && direction === 'forward' && other ? revision : null;
    await this.#parts.routing
      .front(service, { listen, traffic, preview })
      .catch((error: unknown) => this.#fail(error, null));
  }

  /** The pool; null while it cannot be seen, which is a failure only when it lasts. */
  async #see(): Promise<ObservedPool | null> {
    try {
      const pool = await this.#observe(new Map(this.#acting));
      this.#blindSince = null;
      return pool;
    } catch (error) {
      const now = this.#parts.clock.now();
      this.#blindSince ??= now;
      if (now - this.#blindSince >= BLIND_FOR) this.#fail(error, null);
      return null;
    }
  }

  async #observe(acting: ReadonlyMap<string, Action['kind']>): Promise<ObservedPool> {
    const now = this.#parts.clock.now();
    const pool = await observe(
      this.#parts,
      this.#rollout.service,
      candidatesOf(this.#rollout, this.#parts.store),
      acting,
      endsAll(this.#rollout) ? 'as stopped' : 'left out',
    );
    const unseen = [...acting].filter(
      ([id, kind]) => kind === 'launch' && !pool.instances.some((i) => i.id === id),
    );
    return {
      ...pool,
      instances: [...pool.instances, ...unseen.map(([id]) => launching(id, goal(this.#rollout), now))],
    };
  }

  async #decide(pool: ObservedPool, now: number): Promise<void> {
    for (const { id, state, acting } of pool.instances) {
      if (state === 'stopped' && acting === null) this.#lost.add(id);
    }
    const spare = MOST_LOST - this.#lost.size;
    const view = viewOf(this.#rollout, this.#parts.store, { spare, swapped: this.#swapped });
    const decision = this.#strategy.next(pool, view, now);
    const swaps = onlySwaps(decision);
    if (!swaps) await this.#relabel(pool);
    if (decision.kind !== 'gate') this.#stand(false);
    switch (decision.kind) {
      case 'act':
        // Of a hundred swaps each is waited for: once is enough to be told of it.
        if (!swaps) this.#waitingFor = '';
        this.#start(decision.actions);
        break;
      case 'wait':
        if (decision.reason !== this.#waitingFor)
          this.#journal({ event: 'waiting', reason: decision.reason });
        this.#waitingFor = decision.reason;
        break;
      case 'gate':
        this.#isPassed(decision.gate);
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
        this.#leaves = pool.instances.length > goal(this.#rollout).replicas;
        // What has ended is written first: an order may come yet.
        if (this.#ended.length > 0) this.#changed.raise();
        else if (this.#acting.size === 0) await this.#finish(null);
    }
    if (swaps && now - this.#relabelledAt >= RELABEL_WITHIN) await this.#relabel(pool);
    await this.#release(pool);
  }

  /** Stands at a gate until it opens; whether it has. */
  #isPassed(gate: Gate): boolean {
    const { gates, full, policy } = this.#rollout;
    const now = this.#parts.clock.now();
    const state = gates[gate.key];
    if (state && state.passedAt !== null) return true;
    if (!state && this.#gates.isTrivial(gate)) {
      this.#remember(gate.key, { reachedAt: now, passedAt: now, stuck: null });
      this.#save();
      this.#changed.raise();
      return true;
    }
    if (!state) {
      this.#remember(gate.key, { reachedAt: now, passedAt: null, stuck: null });
      this.#record({
        event: 'gate-reached',
        gate: gate.key,
        promotable: gate.hooks === null,
        ms: gate.wait,
      });
    }
    this.#stand(true);
    const reachedAt = state?.reachedAt ?? now;
    const standing = this.#gates.check(gate, reachedAt);
    if (standing.kind === 'failed') this.#fail(standing.error, null);
    else if (standing.kind === 'open' || (full && gate.hooks === null)) return this.#pass(gate.key, null);
    else if (standing.kind === 'stuck') this.#stick(gate.key, standing.reason);
    const needsSomebody = gate.wait === null || standing.kind === 'stuck';
    if (needsSomebody && now - reachedAt > policy.gateTimeout.after) {
      if (policy.gateTimeout.action === 'promote') return this.#pass(gate.key, null);
      this.#failure ??= { error: nobodyCame(gate.key, policy.gateTimeout.after).toJSON(), instance: null };
    }
    return false;
  }

  #pass(key: string, by: string | null): true {
    const now = this.#parts.clock.now();
    const reachedAt = this.#rollout.gates[key]?.reachedAt ?? now;
    this.#rollout = { ...standStill(this.#rollout, false, now), progressAt: now };
    this.#remember(key, { reachedAt, passedAt: now, stuck: null });
    this.#record({ event: 'gate-passed', gate: key, by, ms: now - reachedAt });
    this.#changed.raise();
    return true;
  }

  #stick(key: string, reason: string): void {
    const state = this.#rollout.gates[key];
    if (!state || state.stuck !== null) return;
    this.#remember(key, { ...state, stuck: reason });
    this.#record({ event: 'gate-stuck', gate: key, reason });
  }

  #remember(key: string, state: GateState): void {
    this.#rollout = { ...this.#rollout, gates: { ...this.#rollout.gates, [key]: state } };
  }

  #stand(still: boolean): void {
    const before = this.#rollout;
    this.#rollout = standStill(before, still, this.#parts.clock.now());
    if (this.#rollout !== before) this.#save();
  }

  /** Guests that were swapped, also by an earlier controller, count as of what they serve. */
  async #relabel({ instances }: ObservedPool): Promise<void> {
    const wrong = instances.flatMap(({ id, revision, mislabelled, acting }) =>
      mislabelled && revision !== null && acting === null ? [[id, revision] as const] : [],
    );
    if (wrong.length === 0) return;
    await this.#parts.routing.relabel(this.#rollout.service, Object.fromEntries(wrong));
    this.#relabelledAt = this.#parts.clock.now();
  }

  /** Requests that an earlier controller left waiting go on, unless the swap they wait for is being finished. */
  async #release(pool: ObservedPool): Promise<void> {
    const swapping = [...this.#acting.values()].includes('swapVolume');
    // Where nobody is in the table they wait for the first one that is.
    const served = pool.instances.some(({ routed }) => routed);
    if (pool.hold && served && !swapping) await this.#parts.routing.hold(this.#rollout.service, false);
  }

  /** Begins actions and goes on; the end of each wakes the loop. */
  #start(actions: Action[]): void {
    if (this.#leaving.aborted) return;
    const busy = new Set(this.#acting.keys());
    const begun = actions.flatMap((action) => this.#attempt(action, busy) ?? []);
    if (begun.length === 0) return;
    const { revision } = goal(this.#rollout);
    this.#record(...begun.map(({ action }): Happening => ({ event: 'action-started', action, revision })));
    // Only now: what could not be recorded does not begin.
    for (const { action, instances } of begun)
      for (const instance of instances) this.#acting.set(instance, action.kind);
    const task = this.#task();
    const beside = [...this.#acting.values()].filter((kind) => kind === 'swapVolume').length;
    for (const each of begun) this.#perform(each, task, beside);
  }

  /** Counts a further attempt at an action, and its instances among the busy ones; null: it is not to begin. */
  #attempt(action: Action, busy: Set<string>): Begun | null {
    const instances = instancesOf(action);
    if (instances.some((instance) => busy.has(instance))) return null;
    const attempt =
      action.kind === 'shift'
        ? `shift to ${JSON.stringify(action.weights)}`
        : `${action.kind} of ${action.instance}`;
    const attempts = (this.#attempts.get(attempt) ?? 0) + 1;
    this.#attempts.set(attempt, attempts);
    const culprit = action.kind === 'shift' ? null : action.instance;
    if (attempts > MOST_ATTEMPTS) {
      this.#fail(inVain(attempt, MOST_ATTEMPTS), culprit);
      return null;
    }
    if (action.kind === 'launch') this.#rollout.launches += 1;
    for (const instance of instances) busy.add(instance);
    return { action, instances, attempts, culprit };
  }

  #perform({ action, instances, attempts, culprit }: Begun, task: Task, beside: number): void {
    const { clock } = this.#parts;
    const began = clock.now();
    const succeeded = () => {
      const at = clock.now();
      this.#rollout = { ...this.#rollout, progressAt: at };
      this.#ended.push({ at, happening: { event: 'action-finished', action, ms: at - began } });
      if (action.kind === 'swapVolume' && task.rollout.direction === this.#rollout.direction)
        this.#swapped.push({ beside, ms: at - began });
    };
    const failed = async (error: unknown) => {
      this.#journal({ event: 'action-failed', action, ms: clock.now() - began, error: report(error) });
      if (task.rollout.direction !== this.#rollout.direction) return;
      if (attempts < MOST_ATTEMPTS && (await this.#isBearable(action))) return;
      this.#fail(error, culprit);
    };
    void execute(action, task)
      .then(succeeded, failed)
      .catch((error: unknown) => {
        this.#unrecorded ??= { error };
      })
      .finally(() => {
        for (const instance of instances) this.#acting.delete(instance);
        this.#changed.raise();
      });
  }

  /**
   * Whether the strategy may decide anew after an action that failed. On the way back there is nothing better to go to: an
   * instance that does not answer may do so later, and one that has gone is replaced by another.
   */
  async #isBearable(action: Action): Promise<boolean> {
    if (this.#rollout.direction === 'forward') return false;
    if (action.kind === 'shift' || action.kind === 'admit') return true;
    const { instance } = action;
    const machines = await this.#parts.hypervisor.list().catch(() => null);
    const machine = machines?.find(({ spec }) => spec.id === instance);
    if (machines === null || machine?.state === 'running') return false;
    this.#lost.add(instance);
    return this.#lost.size <= MOST_LOST;
  }

  #fail(error: unknown, instance: string | null): void {
    this.#failure ??= { error: report(error), instance };
  }

  /**
   * A failure on the way forward turns the rollout back; one on the way back ends it, for a person to look at. A rollback
   * is a way back, whoever asked for it: there is nothing that it could be rolled back to. It ends when nothing is under
   * way in the pool any more: the next rollout may begin then.
   */
  async #turn(failure: Failure): Promise<void> {
    const { error, instance } = failure;
    const { direction, kind } = this.#rollout;
    const isOver = direction === 'back' || kind === 'rollback';
    this.#failure = isOver && this.#acting.size > 0 ? failure : null;
    if (this.#failure) return;
    const evidenceOf = async () => (instance === null ? null : await findEvidence(this.#parts, instance));
    if (isOver) return await this.#finish(error, await evidenceOf());
    this.#gates.close();
    // It stands until the rollout has turned: what else fails while the evidence is looked for is no failure of the way back.
    this.#failure = failure;
    this.#evidence = await evidenceOf();
    this.#failure = null;
    this.#attempts.clear();
    this.#lost.clear();
    this.#swapped = [];
    const now = this.#parts.clock.now();
    this.#rollout = { ...this.#rollout, ...underWay(now), direction: 'back', reason: error };
    this.#gates = this.#gatekeeper();
    this.#fronted = false;
    const to = this.#rollout.from.revision;
    this.#record({ event: 'rollback-started', to, reason: error, evidence: this.#evidence });
    this.#onRollback = this.#tell('on-rollback');
    this.#changed.raise();
  }

  /** Runs hooks that change no verdict: how they went is in the journal. */
  async #tell(point: HookPoint): Promise<void> {
    await this.#gates.run(point).catch(() => {});
  }

  /** Leaves the pool as it is to the rollout that takes over, once nothing is under way in it any more. */
  async #giveWay(by: string): Promise<void> {
    this.#gates.close();
    if (this.#acting.size > 0) return;
    const error = new UnideployError(
      'UD_SUPERSEDED',
      `a newer rollout, started by ${by}, took over`,
      `see it: unideploy status --service ${this.#rollout.service}`,
    );
    this.#close('superseded', error.toJSON(), null);
  }

  /** @param stuck why it could not even go back; null when it has reached its goal */
  async #finish(stuck: ErrorReport | null, evidence: Evidence | null = this.#evidence): Promise<void> {
    const { routing, store } = this.#parts;
    const { revision } = goal(this.#rollout);
    const { service, policy, direction } = this.#rollout;
    if (!stuck)
      await (revision === null ? routing.remove(service, policy.drain) : routing.preview(service, null));
    if (direction === 'forward') await this.#tell('post-rollout');
    await this.#onRollback;
    this.#close(stuck ? 'failed' : verdict(this.#rollout), stuck ?? this.#rollout.reason, evidence);
    if (revision === null && !stuck && !this.#leaving.aborted) store.removeService(service);
  }

  #close(ended: Verdict, reason: ErrorReport | null, evidence: Evidence | null): void {
    if (this.#leaving.aborted) return;
    if (this.#ended.length > 0) this.#write();
    const { store, clock } = this.#parts;
    const endedAt = clock.now();
    const target = targetOf(this.#rollout, store);
    this.#rollout = { ...standStill(this.#rollout, false, endedAt), state: ended, reason, endedAt };
    const happening: Happening = {
      event: 'rollout-finished',
      verdict: ended,
      reason,
      ms: endedAt - this.#rollout.startedAt,
      evidence,
      verified: ended !== 'failed' && (target === null || proofs(target).length > 0),
    };
    store.closeRollout(this.#rollout, happening, this.#left(ended));
    this.#parts.onJournal(this.#id);
  }

  /** A way back that failed, or another rollout that takes over: every instance is left as it is. */
  #left(ended: Verdict): Left {
    if (ended === 'failed' || ended === 'superseded') return 'pool';
    return this.#leaves ? 'warm' : 'nothing';
  }

  #gatekeeper(): Gatekeeper {
    const { clock, hooks, measures } = this.#parts;
    const journal = (happening: Happening) => this.#journal(happening);
    return new Gatekeeper(
      {
        hooks,
        analyse: async (policy, told, signal) =>
          await analyse({ measures, clock }, policy, this.#subject(), told, signal),
        facts: async (point) => await this.#facts(point),
        onHook: (finished) => journal({ event: 'hook-finished', ...finished }),
        onMeasured: (measured) => journal({ event: 'measured', measured }),
        onChange: () => this.#changed.raise(),
        now: () => clock.now(),
      },
      this.#rollout.policy,
    );
  }

  #subject(): Subject {
    const { service, id, from, to } = this.#rollout;
    return { service, rollout: id, revision: to.revision ?? 0, stable: from.revision };
  }

  async #facts(point: HookPoint): Promise<HookFacts> {
    const { service, id, from, to, performer, reason } = this.#rollout;
    const machines = await this.#parts.hypervisor.list();
    const instances = machines
      .filter(({ spec }) => spec.service === service && spec.revision === to.revision)
      .map(({ spec }) => spec.id);
    return {
      point,
      service,
      rollout: id,
      from: from.revision,
      to: to.revision,
      instances,
      performer,
      reason: point === 'on-rollback' ? (reason?.message ?? null) : null,
    };
  }

  #task(): Task {
    const { store } = this.#parts;
    const volumes = candidatesOf(this.#rollout, store).flatMap((revision) => revision.volumes);
    const target = targetOf(this.#rollout, store);
    const tell = (happening: Happening) => this.#journal(happening);
    return { ...this.#parts, rollout: this.#rollout, target, volumes, tell };
  }

  #save(): void {
    if (!this.#leaving.aborted) this.#parts.store.updateRollout(this.#rollout);
  }

  /** The rollout as it is from now on, and why. */
  #record(...happenings: Happening[]): void {
    const at = this.#parts.clock.now();
    this.#write(happenings.map((happening) => ({ at, happening })));
  }

  /** Writes what has ended, and this: with one transaction, for each waits for the disk. */
  #write(happened: Happened[] = []): void {
    if (this.#leaving.aborted) return;
    this.#parts.store.record(this.#rollout, [...this.#ended, ...happened]);
    this.#ended = [];
    this.#written();
  }

  #journal(happening: Happening): void {
    if (this.#leaving.aborted) return;
    if (this.#ended.length > 0) this.#write();
    this.#parts.store.append(this.#rollout, this.#parts.clock.now(), happening);
    this.#written();
  }

  #written(): void {
    this.#writing = true;
    this.#parts.onJournal(this.#id);
    this.#writing = false;
  }
}

/** Whether nothing but swaps in traffic is under way or about to begin: what the table says of revisions can wait for more of them. */
function onlySwaps(decision: Decision): boolean {
  if (decision.kind === 'wait') return true;
  const inTraffic = (action: Action) => action.kind === 'swapVolume' && action.mode === 'overlap';
  return decision.kind === 'act' && decision.actions.every(inTraffic);
}

/** An instance whose launch has begun and that nothing shows yet. */
function launching(id: string, { revision }: { revision: number | null }, now: number): ObservedInstance {
  return {
    id,
    revision,
    verified: false,
    health: 'unknown',
    healthySince: null,
    state: 'starting',
    launchedAt: now,
    weight: 0,
    routed: false,
    mislabelled: false,
    swappable: true,
    burdened: false,
    inFlight: 0,
    acting: 'launch',
  };
}
