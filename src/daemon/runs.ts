import pRetry from 'p-retry';
import type { Rollout } from '../domain/rollout.ts';
import { type EngineParts, runRollout } from '../engine/engine.ts';
import { report } from '../errors.ts';

/** The rollouts that this controller moves, each to its end. */
export class Runs {
  readonly #parts: EngineParts;
  readonly #log: (line: string) => void;
  readonly #running = new Map<number, Promise<void>>();
  readonly #leaving = new AbortController();

  constructor(parts: EngineParts, log: (line: string) => void) {
    this.#parts = parts;
    this.#log = log;
  }

  start({ id, service }: Rollout): void {
    // What the engine did not foresee is like a crash of the controller: it takes up again what it finds.
    const { signal } = this.#leaving;
    const run = pRetry(() => runRollout(this.#parts, id, signal), {
      retries: 5,
      minTimeout: 1000,
      shouldRetry: () => !signal.aborted,
    }).then(
      ({ state }) =>
        this.#log(`rollout ${id} of ${service} ${state === 'open' ? 'is left' : `ended: ${state}`}`),
      (error: unknown) => this.#log(`rollout ${id} of ${service} stands still: ${report(error).message}`),
    );
    this.#running.set(id, run);
    void run.then(() => this.#running.delete(id));
  }

  /** Lets go of all rollouts, as they are: the next controller takes them up, and nothing that is cut short here has failed. */
  leave(): void {
    this.#leaving.abort();
  }

  /** Resolves when the rollout is moved no more. */
  async ended(id: number): Promise<void> {
    await this.#running.get(id);
  }
}
