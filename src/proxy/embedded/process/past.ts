import type { Figures, TableStatus } from '../../port.ts';
import { sumOfFigures, sumOfStatus } from './sums.ts';

/**
 * What workers that have died had counted, as far as anybody saw it: to who watches, counts never fall. What they
 * counted after they were last asked is lost.
 */
export class Past {
  readonly #seen = new Map<object, { status: TableStatus[]; figures: Map<string, Figures[]> }>();
  readonly #status = new Map<string, TableStatus>();
  readonly #figures = new Map<string, Figures[]>();

  sawStatus(worker: object, status: TableStatus[]): void {
    this.#of(worker).status = status;
  }

  sawFigures(worker: object, service: string, figures: Figures[]): void {
    this.#of(worker).figures.set(service, figures);
  }

  lost(worker: object): void {
    const { status, figures } = this.#of(worker);
    this.#seen.delete(worker);
    for (const each of status) {
      const before = this.#status.get(each.service);
      const counts = { ...each, routes: [] };
      const sum = sumOfStatus(counts, before ? [before, counts] : [counts]);
      this.#status.set(each.service, { ...sum, held: 0 });
    }
    for (const [service, each] of figures)
      this.#figures.set(service, sumOfFigures([...(this.#figures.get(service) ?? []), ...each]));
  }

  forget(service: string): void {
    this.#status.delete(service);
    this.#figures.delete(service);
    for (const { status, figures } of this.#seen.values()) {
      status.splice(0, status.length, ...status.filter((each) => each.service !== service));
      figures.delete(service);
    }
  }

  status(): TableStatus[] {
    return [...this.#status.values()];
  }

  figures(service: string): Figures[] {
    return this.#figures.get(service) ?? [];
  }

  #of(worker: object) {
    const seen = this.#seen.get(worker) ?? { status: [], figures: new Map<string, Figures[]>() };
    this.#seen.set(worker, seen);
    return seen;
  }
}
