import { LIMITS } from './limits.ts';
import { word } from './names.ts';
import type { Processes } from './processes.ts';
import type { ProcessRecord } from './records.ts';
import type { Stat } from './stat.ts';
import { sum } from './totals.ts';
import type { Turns } from './turns.ts';

/** Processes that listen no more: each ends with its last request, or when its time is over. */
export class Leaving {
  readonly #processes: Processes;
  readonly #turns: Turns;
  readonly #see: (record: ProcessRecord, stat: Stat) => void;
  /** until when they may go on, where that is bounded */
  readonly #until = new Map<string, number>();
  readonly #finishing = new Map<string, Promise<void>>();

  /** `see` is told what each had counted at its end. */
  constructor(processes: Processes, turns: Turns, see: (record: ProcessRecord, stat: Stat) => void) {
    this.#processes = processes;
    this.#turns = turns;
    this.#see = see;
  }

  /** Resolves when the process has ended, at `until` (as performance.now()) at the latest; called again, sooner. */
  finish(record: ProcessRecord, until?: number): Promise<void> {
    const { id } = record;
    if (until !== undefined) this.#until.set(id, Math.min(until, this.#until.get(id) ?? until));
    const known = this.#finishing.get(id);
    if (known) return known;
    const finishing = this.#finish(record).finally(() => {
      this.#finishing.delete(id);
      this.#until.delete(id);
    });
    this.#finishing.set(id, finishing);
    return finishing;
  }

  /** The same, for nobody to wait for. */
  letGo(record: ProcessRecord, until?: number): void {
    // what could not be ended is tried again by the next controller
    void this.finish(record, until).catch(() => undefined);
  }

  async #finish(record: ProcessRecord): Promise<void> {
    const begun = performance.now();
    const until = () => this.#until.get(record.id) ?? Number.POSITIVE_INFINITY;
    // a client that keeps an idle connection is told to close it with its next answer
    const idleMs = () =>
      until() === Number.POSITIVE_INFINITY
        ? LIMITS.softClose
        : Math.max(0, Math.min(LIMITS.closeIdleAfter, until() - begun));
    const last = await this.#processes.quiet(record, until, idleMs);
    await this.#turns.take(async () => {
      await this.#processes.end(record);
      if (!last) return;
      this.#see(record, last);
      for (const serving of await this.#processes.serving()) {
        for (const served of serving.services) {
          const counted = last.services.get(word(served.table.service));
          if (counted) served.before = sum([served.before, counted]);
        }
        await this.#processes.write(serving, {});
      }
    });
  }
}
