import type { Clock } from '../domain/clock.ts';

/** Something to wait for that may happen before anyone waits: a raised signal stays raised until it is waited for. */
export class Signal {
  #raised = false;
  #wake: (() => void) | null = null;

  raise(): void {
    this.#raised = true;
    this.#wake?.();
  }

  /** Resolves when the signal is raised, at the latest after `ms`. */
  async wait(clock: Clock, ms: number): Promise<void> {
    if (!this.#raised) {
      const raised = new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
      await Promise.race([raised, clock.sleep(ms)]);
    }
    this.#wake = null;
    this.#raised = false;
  }
}
