import type { Clock } from '../../domain/clock.ts';

interface Timer {
  at: number;
  fire: () => void;
}

/** A clock that jumps from one timer to the next as soon as nothing else is left to do. */
export class VirtualClock implements Clock {
  readonly #timers: Timer[] = [];
  #now: number;
  /** called after each jump, when everything it has set off has run */
  onMoment: () => void = () => {};

  constructor(start = 0) {
    this.#now = start;
  }

  now(): number {
    return this.#now;
  }

  sleep(ms: number): Promise<void> {
    return new Promise((resolve) => {
      const at = this.#now + Math.max(0, ms);
      const later = this.#timers.findIndex((timer) => timer.at > at);
      this.#timers.splice(later === -1 ? this.#timers.length : later, 0, { at, fire: resolve });
    });
  }

  /** Lets time pass until `work` has settled. Throws when it never can: nothing is left that would wake it. */
  async until<T>(work: Promise<T>): Promise<T> {
    let settled = false;
    const settle = () => {
      settled = true;
    };
    work.then(settle, settle);
    for (;;) {
      await new Promise(setImmediate);
      this.onMoment();
      if (settled) return await work;
      const next = this.#timers.shift();
      if (!next) throw new Error('simulated time has stopped: nothing is left to wait for');
      this.#now = next.at;
      next.fire();
    }
  }
}
