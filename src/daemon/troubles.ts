import { type ErrorReport, report } from '../errors.ts';

/**
 * What keeps the controller from its work at the moment, by what it is about: `rollout 7`, `the state`. Said to the log
 * once, not at every try.
 */
export class Troubles {
  readonly #log: (line: string) => void;
  readonly #present = new Map<string, ErrorReport>();

  constructor(log: (line: string) => void) {
    this.#log = log;
  }

  has(about: string, error: unknown): void {
    const { code, message, next } = report(error);
    this.tell(about, { code, message: `${about}: ${message}`, next });
  }

  tell(about: string, trouble: ErrorReport): void {
    const { code, message, next } = trouble;
    if (this.#present.get(about)?.code !== code) this.#log(`${code}: ${message}. Next: ${next}`);
    this.#present.set(about, trouble);
  }

  over(about: string): void {
    if (this.#present.delete(about)) this.#log(`${about}: goes on`);
  }

  /** Does something of which nothing depends on whether it succeeds now: it is done again later. */
  async during(about: string, work: () => Promise<void> | void): Promise<void> {
    try {
      await work();
      this.over(about);
    } catch (error) {
      this.has(about, error);
    }
  }

  all(): ErrorReport[] {
    return [...this.#present.values()];
  }
}
