import { type Figures, LATENCY_BOUNDS } from '../port.ts';

/** Counts what one instance answered as one revision. It stands on every request's way: numbers alone. */
export class Counts {
  readonly #status = [0, 0, 0, 0, 0, 0];
  readonly #buckets: number[] = new Array(LATENCY_BOUNDS.length + 1).fill(0);
  #sum = 0;
  broken = 0;
  retries = 0;

  /** An answer that went out whole, `seconds` after its request had come. */
  answered(status: number, seconds: number): void {
    this.#status[Math.floor(status / 100)] = (this.#status[Math.floor(status / 100)] ?? 0) + 1;
    this.#sum += seconds;
    let bucket = 0;
    while (bucket < LATENCY_BOUNDS.length && seconds > (LATENCY_BOUNDS[bucket] as number)) bucket++;
    this.#buckets[bucket] = (this.#buckets[bucket] ?? 0) + 1;
  }

  figures(instance: string, revision: number, ejections: number): Figures {
    const [, one = 0, two = 0, three = 0, four = 0, five = 0] = this.#status;
    return {
      instance,
      revision,
      status: { '1xx': one, '2xx': two, '3xx': three, '4xx': four, '5xx': five },
      broken: this.broken,
      latency: { sum: this.#sum, buckets: [...this.#buckets] },
      retries: this.retries,
      ejections,
    };
  }
}
