import pRetry from 'p-retry';
import type { Rollout } from '../domain/rollout.ts';
import { type EngineParts, runRollout } from '../engine/engine.ts';
import { report } from '../errors.ts';

/** The rollouts that this controller moves, each to its end. */
export class Runs {
  readonly #parts: EngineParts;
  readonly #log: (line: string) => void;
  readonly #running = new Map<number, Promise<void>>();

  constructor(parts: EngineParts, log: (line: string) => void) {
    this.#parts = parts;
    this.#log = log;
  }

  start({ id, service }: Rollout): void {
    // What the engine did not foresee is like a crash of the controller: it takes up again what it finds.
    const run = pRetry(() => runRollout(this.#parts, id), { retries: 5, minTimeout: 1000 }).then(
      ({ state }) => this.#log(`rollout ${id} of ${service} ended: ${state}`),
      (error: unknown) => this.#log(`rollout ${id} of ${service} stands still: ${report(error).message}`),
    );
    this.#running.set(id, run);
    void run.then(() => this.#running.delete(id));
  }

  /** Resolves when the rollout is moved no more. */
  async ended(id: number): Promise<void> {
    await this.#running.get(id);
  }
}
