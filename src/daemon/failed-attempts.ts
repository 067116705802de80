/** Failures that an address may have in a window of time. */
const ALLOWED = 10;
/** Milliseconds. */
const WINDOW = 60_000;
/** Addresses that are remembered: an attacker may have many. */
const REMEMBERED = 10_000;

/** Counts, for each address, how often somebody came without a token that is one. Time is an input. */
export class FailedAttempts {
  readonly #since = new Map<string, { at: number; count: number }>();

  /** Milliseconds for which the address is not listened to; 0: it is. */
  shutFor(address: string, now: number): number {
    const known = this.#since.get(address);
    if (known === undefined || known.count < ALLOWED) return 0;
    return Math.max(0, known.at + WINDOW - now);
  }

  count(address: string, now: number): void {
    const known = this.#since.get(address);
    const goesOn = known !== undefined && now < known.at + WINDOW;
    // Written anew, so that the first of the map is the one that was not heard of for longest.
    this.#since.delete(address);
    this.#since.set(address, goesOn ? { at: known.at, count: known.count + 1 } : { at: now, count: 1 });
    const [oldest] = this.#since.keys();
    if (this.#since.size > REMEMBERED && oldest !== undefined) this.#since.delete(oldest);
  }
}
