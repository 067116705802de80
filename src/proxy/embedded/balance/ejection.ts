import type { EjectPolicy } from '../../../domain/traffic.ts';

/** `connect`: the connection was refused; `answer`: everything else, a connection that was not made in time included. */
export type Failure = 'connect' | 'answer';

/**
 * Which of a service's instances are out because of what requests or active checks have shown. Never more than the
 * policy's floor leaves of those with a weight. Where requests show more than that, the newest evidence counts: the one
 * that went out first comes back for good. Where checks do, they count for nothing (as in Envoy's panic mode): then they
 * rather tell of the checks than of the instances. Times are milliseconds of a clock that never goes back.
 */
export class Ejection<T extends { readonly weight: number }> {
  #policy: EjectPolicy;
  #states = new Map<T, State>();
  /** how many may be out because of requests */
  #room = 0;
  #anyOut = false;
  /** when it has to be settled again who is out */
  #due = Number.POSITIVE_INFINITY;
  #lastEjection = 0;

  constructor(policy: EjectPolicy) {
    this.#policy = policy;
  }

  /** Takes a table over: to be told of each, since weights count. What is known of instances that stay is kept. */
  apply(policy: EjectPolicy, instances: readonly T[]): void {
    this.#policy = policy;
    this.#states = new Map(instances.map((instance) => [instance, this.#states.get(instance) ?? fresh()]));
    this.#due = Number.NEGATIVE_INFINITY;
  }

  /** Whether the instance should not be chosen at `now`. */
  out(instance: T, now: number): boolean {
    if (now >= this.#due) this.#settle(now);
    return this.#anyOut && this.#states.get(instance)?.out === true;
  }

  /** A request was answered; not for 502, 503 and 504. */
  succeeded(instance: T): void {
    const state = this.#states.get(instance);
    if (state !== undefined) state.failures = 0;
  }

  /** A request failed. Of one that is out already that says nothing new: the request was under way. */
  failed(instance: T, failure: Failure, now: number): void {
    const state = this.#states.get(instance);
    if (state === undefined || this.out(instance, now)) return;
    if (failure === 'answer' && state.failures++ === 0) state.rowBegan = now;
    if (failure === 'answer' && state.failures < this.#policy.failures) return;
    if (instance.weight > 0 && this.#room === 0) return;
    if (failure === 'answer') this.#ejectForLong(state, now);
    else state.until = now + AFTER_REFUSAL;
    state.ordinal = ++this.#lastEjection;
    this.#settle(now);
  }

  /** What active checks have found. One that is well again is back at once, whatever requests had shown before. */
  verdict(instance: T, healthy: boolean): void {
    const state = this.#states.get(instance);
    if (state === undefined || state.unhealthy === !healthy) return;
    if (healthy) Object.assign(state, { ...fresh(), out: state.out, ejections: state.ejections });
    else state.unhealthy = true;
    this.#due = Number.NEGATIVE_INFINITY;
  }

  /** How often the instance was taken out, for whatever reason. */
  ejections(instance: T): number {
    return this.#states.get(instance)?.ejections ?? 0;
  }

  #ejectForLong(state: State, now: number): void {
    const { time } = this.#policy;
    const relapsed = state.rowBegan - state.back < time;
    state.times = relapsed ? Math.min(state.times * 2, MOST_TIMES) : 1;
    state.until = now + time * state.times;
    state.back = state.until;
    state.failures = 0;
  }

  #settle(now: number): void {
    const weighted = [...this.#states].filter(([{ weight }]) => weight > 0).map(([, state]) => state);
    const unhealthy = weighted.filter((state) => state.unhealthy).length;
    const most = weighted.length - Math.ceil((weighted.length * this.#policy.floor) / 100);
    const panic = unhealthy > most;
    this.#room = panic ? most : most - unhealthy;

    const ejected = weighted.filter((state) => state.until > now && (panic || !state.unhealthy));
    ejected.sort((a, b) => b.ordinal - a.ordinal);
    for (const state of ejected.slice(this.#room)) {
      state.until = now;
      state.back = Math.min(state.back, now);
    }

    this.#anyOut = false;
    this.#due = Number.POSITIVE_INFINITY;
    for (const [{ weight }, state] of this.#states) {
      const out = state.until > now || (state.unhealthy && !(panic && weight > 0));
      if (out && !state.out) state.ejections++;
      state.out = out;
      this.#anyOut ||= out;
      if (state.until > now) this.#due = Math.min(this.#due, state.until);
    }
  }
}

interface State {
  /** in a row */
  failures: number;
  /** when the row began */
  rowBegan: number;
  /** when it comes back from what requests have shown */
  until: number;
  /** when it came back, or will, from its last ejection for failures in a row, which was so many times as long as usual */
  back: number;
  times: number;
  /** orders the ejections */
  ordinal: number;
  /** as active checks have it */
  unhealthy: boolean;
  out: boolean;
  ejections: number;
}

function fresh(): State {
  return {
    failures: 0,
    rowBegan: 0,
    until: Number.NEGATIVE_INFINITY,
    back: Number.NEGATIVE_INFINITY,
    times: 1,
    ordinal: 0,
    unhealthy: false,
    out: false,
    ejections: 0,
  };
}

const AFTER_REFUSAL = 1_000;
const MOST_TIMES = 8;
