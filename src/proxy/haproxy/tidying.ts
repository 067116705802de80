import { setTimeout as delay } from 'node:timers/promises';
import { LIMITS } from './limits.ts';
import type { Processes } from './processes.ts';
import { servedBy } from './records.ts';
import { deleteUnused } from './servers.ts';
import type { Turns } from './turns.ts';

/** Deletes servers that have no route any more; what they have in flight comes first. */
export class Tidying {
  readonly #processes: Processes;
  readonly #turns: Turns;
  /** services that are being tidied */
  readonly #busy = new Set<string>();

  constructor(processes: Processes, turns: Turns) {
    this.#processes = processes;
    this.#turns = turns;
  }

  /** Begins, and goes on for as long as there are such servers. */
  begin(service: string): void {
    if (this.#busy.has(service)) return;
    this.#busy.add(service);
    // a process that does not answer is somebody else's trouble: the next table tidies again
    void this.#all(service)
      .catch(() => undefined)
      .finally(() => this.#busy.delete(service));
  }

  async #all(service: string): Promise<void> {
    while (await this.#turns.take(() => this.#once(service)))
      await delay(LIMITS.poll, undefined, { ref: false });
  }

  async #once(service: string): Promise<boolean> {
    for (const record of await this.#processes.serving()) {
      const served = servedBy(record, service);
      if (served) return deleteUnused(this.#processes.runtime(record), served.table);
    }
    return false;
  }
}
