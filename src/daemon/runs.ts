import type { Rollout } from '../domain/rollout.ts';
import { runRollout } from '../engine/engine.ts';
import type { EngineParts } from '../engine/parts.ts';
import { isHostTrouble, report } from '../errors.ts';
import type { Troubles } from './troubles.ts';

/** How often a rollout is taken up again that broke off for what the engine did not foresee. */
const TRIES = 5;
/** Pauses before that, in ms: they double. While the host is in trouble there is no end of it. */
const FIRST_PAUSE = 1000;
const LONGEST_PAUSE = 8000;

/** The rollouts that this controller moves, each to its end. */
export class Runs {
  readonly #parts: EngineParts;
  readonly #log: (line: string) => void;
  readonly #troubles: Pick<Troubles, 'has' | 'over'>;
  readonly #running = new Map<number, Promise<void>>();
  readonly #leaving = new AbortController();

  constructor(parts: EngineParts, log: (line: string) => void, troubles: Pick<Troubles, 'has' | 'over'>) {
    this.#parts = parts;
    this.#log = log;
    this.#troubles = troubles;
  }

  start(rollout: Rollout): void {
    const run = this.#toItsEnd(rollout);
    this.#running.set(rollout.id, run);
    void run.then(() => this.#running.delete(rollout.id));
  }

  /** Lets go of all rollouts, as they are: the next controller takes them up, and nothing that is cut short here has failed. */
  leave(): void {
    this.#leaving.abort();
  }

  /** Resolves when the rollout is moved no more. */
  async ended(id: number): Promise<void> {
    await this.#running.get(id);
  }

  /**
   * What the engine did not foresee is like a crash of the controller: it takes up again what it finds. A host in trouble
   * (a full disk: nothing can be recorded) has the rollout stand still until it is well again.
   */
  async #toItsEnd({ id, service }: Rollout): Promise<void> {
    const about = `rollout ${id} of ${service}`;
    const { signal } = this.#leaving;
    for (let tries = 1, wait = FIRST_PAUSE; ; wait = Math.min(2 * wait, LONGEST_PAUSE)) {
      try {
        const { state } = await runRollout(this.#parts, id, signal);
        this.#troubles.over(about);
        this.#log(`${about} ${state === 'open' ? 'is left' : `ended: ${state}`}`);
        return;
      } catch (error) {
        if (signal.aborted) return;
        if (isHostTrouble(error)) this.#troubles.has(about, error);
        else if (++tries > TRIES) {
          this.#log(`${about} stands still: ${report(error).message}`);
          return;
        }
        await this.#parts.clock.sleep(wait);
      }
    }
  }
}
