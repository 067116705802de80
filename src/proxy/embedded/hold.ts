import { LIMITS } from './limits.ts';
import type { Refusal } from './refusal.ts';

/** A request that has no instance yet. */
export interface Waiting {
  /** its turn has come: it is to be given an instance */
  proceed(): void;
  refuse(refusal: Refusal): void;
}

/** Requests that wait for an instance, first come first served, bounded in number and time. Their bodies stay unread. */
export class Hold {
  /** with the time at which the wait ends; in the order of arrival, so the first is always the oldest */
  readonly #waiting = new Map<Waiting, number>();
  #timer: NodeJS.Timeout | undefined;
  #releasing: NodeJS.Immediate | undefined;

  get size(): number {
    return this.#waiting.size;
  }

  /** Takes a request in; refuses it where the hold is full. */
  add(request: Waiting): void {
    if (this.#waiting.size >= LIMITS.held) {
      request.refuse(refusal('hold-full', `${LIMITS.held} requests are waiting already`));
      return;
    }
    this.#waiting.set(request, Date.now() + LIMITS.hold);
    this.#timer ??= setTimeout(() => this.#expire(), LIMITS.hold);
  }

  /** The request's client has gone. */
  forget(request: Waiting): void {
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
      this.#waiting.delete(request);
      request.refuse(refusal);
    }
  }

  #releaseSome(): void {
    this.#releasing = undefined;
    let left = LIMITS.releaseBatch;
    for (const request of this.#waiting.keys()) {
      if (left-- === 0) break;
      this.#waiting.delete(request);
      request.proceed();
    }
    this.release();
  }

  #expire(): void {
    this.#timer = undefined;
    const now = Date.now();
    for (const [request, until] of this.#waiting) {
      if (until > now) {
        this.#timer = setTimeout(() => this.#expire(), until - now);
        return;
      }
      this.#waiting.delete(request);
      request.refuse(refusal('hold-timeout', `no instance took the request within ${LIMITS.hold / 1000} s`));
    }
  }
}

function refusal(reason: string, message: string): Refusal {
  return { status: 503, reason, message, retryAfter: 1 };
}
