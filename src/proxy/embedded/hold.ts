import type { HoldPolicy } from '../../domain/traffic.ts';
import type { Refusal } from './refusal.ts';

/** A request that has no instance yet. */
export interface Waiting {
  /** bytes that it takes up */
  readonly size: number;
  /** its turn has come: it is to be given an instance */
  proceed(): void;
  refuse(refusal: Refusal): void;
}

/** Requests that wait for an instance, first come first served, bounded in number, bytes and time. */
export class Hold {
  /** in the order of arrival, so the first is always the oldest */
  readonly #waiting = new Map<Waiting, { until: number; size: number }>();
  readonly #releaseBatch: number;
  #bytes = 0;
  /** requests that have waited so far */
  total = 0;
  #timer: NodeJS.Timeout | undefined;
  #releasing: NodeJS.Immediate | undefined;

  /** `releaseBatch`: how many go on in one turn of the event loop. */
  constructor(releaseBatch: number) {
    this.#releaseBatch = releaseBatch;
  }

  get size(): number {
    return this.#waiting.size;
  }

  /** Takes a request in; refuses it where the hold is full. */
  add(request: Waiting, policy: HoldPolicy): void {
    const { size } = request;
    if (this.#waiting.size >= policy.requests || this.#bytes + size > policy.bytes) {
      const full =
        this.#waiting.size >= policy.requests ? `${policy.requests} requests` : `${policy.bytes} bytes`;
      request.refuse(refusal('hold-full', `${full} are waiting already`));
      return;
    }
    this.#waiting.set(request, { until: performance.now() + policy.time, size });
    this.#bytes += size;
    this.total++;
    this.#timer ??= setTimeout(() => this.#expire(), policy.time);
  }

  /** The request's client has gone. */
  forget(request: Waiting): void {
    this.#bytes -= this.#waiting.get(request)?.size ?? 0;
    this.#waiting.delete(request);
  }

  /** Lets the requests go on, oldest first, a few in every turn, until `keep` is called. */
  release(): void {
    if (this.#waiting.size > 0) this.#releasing ??= setImmediate(() => this.#releaseSome());
  }

  keep(): void {
    clearImmediate(this.#releasing);
    this.#releasing = undefined;
  }

  refuseAll(refusal: Refusal): void {
    this.keep();
    for (const request of this.#waiting.keys()) {
      this.forget(request);
      request.refuse(refusal);
    }
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }

  #releaseSome(): void {
    this.#releasing = undefined;
    let left = this.#releaseBatch;
    for (const request of this.#waiting.keys()) {
      if (left-- === 0) break;
      this.forget(request);
      request.proceed();
    }
    this.release();
  }

  #expire(): void {
    this.#timer = undefined;
    const now = performance.now();
    for (const [request, { until }] of this.#waiting) {
      if (until > now) {
        this.#timer = setTimeout(() => this.#expire(), until - now);
        return;
      }
      this.forget(request);
      request.refuse(refusal('hold-timeout', 'no instance took the request in time'));
    }
  }
}

function refusal(reason: string, message: string): Refusal {
  return { status: 503, reason, message, retryAfter: 1 };
}
