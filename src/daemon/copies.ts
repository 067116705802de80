import type { Store } from '../store/port.ts';
import type { Troubles } from './troubles.ts';

/** Shortest time between two copies, in ms; and one takes at most this share of the time. */
const EVERY = 5_000;
const SHARE = 0.02;

/** Keeps the good copy of the store beside it: made when a controller starts, and when a rollout has ended. */
export class Copies {
  readonly #store: Pick<Store, 'copyTo' | 'rollout'>;
  readonly #file: string;
  readonly #troubles: Pick<Troubles, 'during'>;
  readonly #now: () => number;
  /** rollouts whose journal has new entries */
  readonly #heard = new Set<number>();
  #due = true;
  #notBefore = 0;

  constructor(
    store: Pick<Store, 'copyTo' | 'rollout'>,
    file: string,
    { troubles, now }: { troubles: Pick<Troubles, 'during'>; now: () => number },
  ) {
    this.#store = store;
    this.#file = file;
    this.#troubles = troubles;
    this.#now = now;
  }

  /** A rollout's journal has a new entry. */
  heard(rollout: number): void {
    this.#heard.add(rollout);
  }

  /** Makes one if one is due; asked often. */
  async look(): Promise<void> {
    const began = this.#now();
    if (began < this.#notBefore) return;
    await this.#troubles.during('the copy of the state', () => {
      for (const rollout of this.#heard) this.#due ||= this.#store.rollout(rollout)?.state !== 'open';
      this.#heard.clear();
      if (!this.#due) return;
      this.#notBefore = began + EVERY;
      this.#store.copyTo(this.#file);
      this.#due = false;
      this.#notBefore = began + Math.max(EVERY, (this.#now() - began) / SHARE);
    });
  }
}
