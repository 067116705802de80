import type { Action } from '../domain/action.ts';
import { hookGate } from '../domain/gate.ts';
import type { Evidence, Happening } from '../domain/journal.ts';
import { obey } from '../domain/obey.ts';
import type { ObservedInstance, ObservedPool } from '../domain/pool.ts';
import { dataOf, proofs } from '../domain/revision.ts';
import { endsAll, goal, overdue, type Rollout, underWay, type Verdict, verdict } from '../domain/rollout.ts';
import type { Decision, Strategy } from '../domain/strategy.ts';
import { type ErrorReport, report, UnideployError } from '../errors.ts';
import type { TableStatus } from '../proxy/port.ts';
import type { Left } from '../store/port.ts';
import { prepareData } from './data.ts';
import { findEvidence } from './evidence.ts';
import { aborted, type Failure, tooLate } from './failures.ts';
import { Gates } from './gates.ts';
import { observe } from './observe.ts';
import type { EngineParts } from './parts.ts';
import { Performer } from './performer.ts';
import { RolloutRecord } from './record.ts';
import { Signal } from './signal.ts';
import { candidatesOf, type Revisions, readOnce, targetOf, viewOf } from './view.ts';

/** The longest time between two observations, in ms, when nothing says that something has changed. */
const OBSERVE_AT_LEAST_EVERY = 250;

/** The longest time, in ms, for which a guest that was swapped in traffic is in the table as of what it served before. */
const RELABEL_WITHIN = 1_000;

/** Of many swaps one after the other ends: those of so many ms are looked at, and written down, together. */
const GATHER = 25;

const DATA_GATE = 'data';

/** How long the pool may not be seen before that counts as a failure, in ms: a data plane is started again meanwhile. */
const BLIND_FOR = 10_000;

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

class Run {
  readonly #parts: EngineParts;
  readonly #revisions: Revisions;
  readonly #strategy: Strategy;
  readonly #leaving: AbortSignal;
  readonly #changed = new Signal();
  readonly #record: RolloutRecord;
  readonly #performer: Performer;
  #gates: Gates;
  #fronted = false;
  #failure: Failure | null = null;
  #waitingFor = '';
  #evidence: Evidence | null = null;
  #blindSince: number | null = null;
  #relabelledAt = Number.NEGATIVE_INFINITY;
  /** by its last decision no other action than swaps in traffic is about to begin */
  #onlySwaps = false;
  #seen: { table: TableStatus | null; at: number } | null = null;
  /** it is done, and instances stay that are no part of its goal */
  #leaves = false;
  /** the hooks of a rollback, which nothing waits for until the end */
  #onRollback: Promise<void> = Promise.resolve();

  constructor(parts: EngineParts, rollout: Rollout, strategy: Strategy, leaving: AbortSignal) {
    this.#parts = parts;
    this.#revisions = readOnce(parts.store);
    this.#leaving = leaving;
    this.#strategy = strategy;
    this.#record = new RolloutRecord(parts, rollout, leaving);
    const fail = (error: unknown, instance: string | null) => this.#fail(error, instance);
    this.#performer = new Performer({
      ...{ parts, revisions: this.#revisions },
      ...{ record: this.#record, changed: this.#changed, fail },
    });
    this.#gates = this.#gatesAhead();
  }

  get #rollout(): Rollout {
    return this.#record.rollout;
  }

  async toItsEnd(): Promise<Rollout> {
    const { hypervisor, monitor, onOrder } = this.#parts;
    const wake = () => this.#changed.raise();
    // What an instance does in the course of an action is looked at when the action ends.
    const changed = (id: string) => {
      if (!this.#performer.acting.has(id)) wake();
    };
    const ordered = () => {
      if (!this.#record.writing) wake();
    };
    const unsubscribe = [
      hypervisor.onChange(changed),
      monitor.onChange(changed),
      onOrder(this.#rollout.id, ordered),
    ];
    this.#leaving.addEventListener('abort', wake);
    try {
      while (this.#rollout.state === 'open' && !this.#leaving.aborted) await this.#step();
      return this.#rollout;
    } finally {
      this.#leaving.removeEventListener('abort', wake);
      this.#gates.close();
      // Whoever takes it up again finds nothing under way.
      while (this.#performer.acting.size > 0)
        await this.#changed.wait(this.#parts.clock, OBSERVE_AT_LEAST_EVERY);
      for (const stop of unsubscribe) stop();
    }
  }

  async #step(): Promise<void> {
    this.#performer.expectRecorded();
    this.#hear();
    const { ending, direction, paused } = this.#rollout;
    const now = this.#parts.clock.now();
    if (ending?.how === 'supersede') await this.#giveWay(ending.by);
    else if (this.#failure) await this.#turn(this.#failure);
    else if (ending?.how === 'abort' && direction === 'forward') await this.#turn(aborted(ending.by));
    else if (paused) this.#record.stand(true);
    else {
      const late = overdue(this.#rollout, now);
      if (late) await this.#turn(tooLate(this.#rollout.service, late, this.#waitingFor));
      else await this.#goOn();
    }
    this.#record.catchUp();
    if (this.#rollout.state !== 'open') return;
    await this.#changed.wait(this.#parts.clock, OBSERVE_AT_LEAST_EVERY);
    if (this.#isSwapping()) await this.#parts.clock.sleep(GATHER);
  }

  async #goOn(): Promise<void> {
    if (this.#rollout.direction === 'forward' && !this.#gates.isPassed(hookGate('pre-rollout'))) return;
    if (this.#rollout.direction === 'forward' && !(await this.#prepareData())) return;
    if (!this.#fronted) await this.#front();
    const pool = await this.#see();
    if (this.#failure === null && pool) await this.#decide(pool, this.#parts.clock.now());
  }

  #hasData(): boolean {
    return candidatesOf(this.#rollout, this.#revisions).some((revision) => dataOf(revision).length > 0);
  }

  /** Whether what happens to the disks before anything else has been done, remembered as a gate that is passed. */
  async #prepareData(): Promise<boolean> {
    const { gates, from, to } = this.#rollout;
    if (gates[DATA_GATE]) return true;
    // Most services have none: nothing is to be remembered of them.
    if (!this.#hasData()) return true;
    const now = this.#parts.clock.now();
    const [before, after] = [from, to].map(({ revision }) =>
      revision === null ? null : this.#revisions.revision(this.#rollout.service, revision),
    );
    try {
      const note = (happening: Happening) => this.#record.note(happening);
      await prepareData(this.#parts, this.#rollout, before ?? null, after ?? null, note);
      this.#gates.remember(DATA_GATE, { reachedAt: now, passedAt: now, stuck: null });
      this.#record.save();
      return true;
    } catch (error) {
      this.#fail(error, null);
      this.#changed.raise();
      return false;
    }
  }

  /** Obeys what people have told the rollout since the last look. */
  #hear(): void {
    const orders = this.#parts.store.orders(this.#rollout.id, this.#rollout.heard);
    for (const order of orders) this.#record.change(obey(this.#rollout, order));
    if (orders.length === 0) return;
    for (const order of orders) {
      if (order.event === 'ordered' && order.how === 'promote') this.#gates.promote(order.by);
    }
    this.#record.save();
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
      const pool = await this.#observe(new Map(this.#performer.acting));
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
    const { hypervisor, monitor } = this.#parts;
    const pool = await observe(
      { hypervisor, monitor, routing: { status: () => this.#table() } },
      this.#rollout.service,
      candidatesOf(this.#rollout, this.#revisions),
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

  /** Its table. Where nothing but swaps in traffic is under way none of them changes it: what was seen a moment ago will do. */
  async #table(): Promise<TableStatus | null> {
    const now = this.#parts.clock.now();
    if (this.#seen && this.#isSwapping() && now - this.#seen.at < RELABEL_WITHIN) return this.#seen.table;
    const table = await this.#parts.routing.status(this.#rollout.service);
    this.#seen = { table, at: now };
    return table;
  }

  /** Whether swaps in traffic are under way, and nothing else. */
  #isSwapping(): boolean {
    const acting = [...this.#performer.acting.values()];
    return this.#onlySwaps && acting.length > 0 && acting.every((kind) => kind === 'swapVolume');
  }

  async #decide(pool: ObservedPool, now: number): Promise<void> {
    for (const { id, state, acting } of pool.instances) {
      if (state === 'stopped' && acting === null) this.#performer.lost(id);
    }
    const view = viewOf(this.#rollout, this.#revisions, this.#performer);
    const decision = this.#strategy.next(pool, view, now);
    const swaps = onlySwaps(decision);
    this.#onlySwaps = swaps;
    if (!swaps) await this.#relabel(pool);
    if (decision.kind !== 'gate') this.#record.stand(false);
    switch (decision.kind) {
      case 'act':
        // Of a hundred swaps each is waited for: once is enough to be told of it.
        if (!swaps) this.#waitingFor = '';
        if (!this.#leaving.aborted) this.#performer.start(decision.actions);
        break;
      case 'wait':
        if (decision.reason !== this.#waitingFor)
          this.#record.note({ event: 'waiting', reason: decision.reason });
        this.#waitingFor = decision.reason;
        break;
      case 'gate':
        this.#gates.isPassed(decision.gate);
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
        if (this.#record.isBehind) this.#changed.raise();
        else if (this.#performer.acting.size === 0) await this.#finish(null);
    }
    if (swaps && now - this.#relabelledAt >= RELABEL_WITHIN) await this.#relabel(pool);
    await this.#release(pool);
  }

  /** Guests that were swapped, also by an earlier controller, count as of what they serve. */
  async #relabel({ instances }: ObservedPool): Promise<void> {
    const wrong = instances.flatMap(({ id, revision, mislabelled, acting }) =>
      mislabelled && revision !== null && acting === null ? [[id, revision] as const] : [],
    );
    if (wrong.length === 0) return;
    await this.#parts.routing.relabel(this.#rollout.service, Object.fromEntries(wrong));
    this.#relabelledAt = this.#parts.clock.now();
    this.#seen = null;
  }

  /** Requests that an earlier controller left waiting go on, unless the swap they wait for is being finished. */
  async #release(pool: ObservedPool): Promise<void> {
    const swapping = [...this.#performer.acting.values()].includes('swapVolume');
    // Where nobody is in the table they wait for the first one that is.
    const served = pool.instances.some(({ routed }) => routed);
    if (pool.hold && served && !swapping) await this.#parts.routing.hold(this.#rollout.service, false);
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
    this.#failure = isOver && this.#performer.acting.size > 0 ? failure : null;
    if (this.#failure) return;
    const evidenceOf = async () => (instance === null ? null : await findEvidence(this.#parts, instance));
    if (isOver) return await this.#finish(error, await evidenceOf());
    this.#gates.close();
    // It stands until the rollout has turned: what else fails while the evidence is looked for is no failure of the way back.
    this.#failure = failure;
    this.#evidence = await evidenceOf();
    this.#failure = null;
    this.#performer.turn();
    this.#record.change({ ...underWay(this.#parts.clock.now()), direction: 'back', reason: error });
    this.#gates = this.#gatesAhead();
    this.#fronted = false;
    const to = this.#rollout.from.revision;
    this.#record.write({ event: 'rollback-started', to, reason: error, evidence: this.#evidence });
    this.#onRollback = this.#gates.tell('on-rollback');
    this.#changed.raise();
  }

  /** Leaves the pool as it is to the rollout that takes over, once nothing is under way in it any more. */
  async #giveWay(by: string): Promise<void> {
    this.#gates.close();
    if (this.#performer.acting.size > 0) return;
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
    if (direction === 'forward') await this.#gates.tell('post-rollout');
    await this.#onRollback;
    this.#close(stuck ? 'failed' : verdict(this.#rollout), stuck ?? this.#rollout.reason, evidence);
    if (revision === null && !stuck && !this.#leaving.aborted) store.removeService(service);
  }

  #close(ended: Verdict, reason: ErrorReport | null, evidence: Evidence | null): void {
    const target = targetOf(this.#rollout, this.#revisions);
    const verified = ended !== 'failed' && (target === null || proofs(target).length > 0);
    this.#record.close(
      { state: ended, reason },
      (ms) => ({ event: 'rollout-finished', verdict: ended, reason, ms, evidence, verified }),
      this.#left(ended),
    );
  }

  /** A way back that failed, or another rollout that takes over: every instance is left as it is. */
  #left(ended: Verdict): Left {
    if (ended === 'failed' || ended === 'superseded') return 'pool';
    return this.#leaves ? 'warm' : 'nothing';
  }

  #gatesAhead(): Gates {
    const fail = (error: UnideployError) => this.#fail(error, null);
    return new Gates({ parts: this.#parts, record: this.#record, changed: this.#changed, fail });
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
