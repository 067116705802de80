import type { Drained, Figures, Route } from '../port.ts';
import { Instance } from './instance.ts';

/** The instances of one service: those of its table, and those that have left it and are still busy. */
export class Instances {
  readonly #all = new Map<string, Instance>();
  #inTable = new Set<Instance>();
  readonly #waiters = new Set<() => void>();

  /** Takes the routes of a table over; the instances come back in their order. */
  apply(routes: readonly Route[]): Instance[] {
    const instances = routes.map((route) => this.#instance(route));
    this.#inTable = new Set(instances);
    for (const instance of this.#all.values()) {
      if (!this.#inTable.has(instance)) instance.weight = 0;
      if (instance.weight === 0) instance.closeIdle();
      this.#dropIfDone(instance);
    }
    return instances;
  }

  /**
   * Resolves when the instance has nothing in flight. After `deadlineMs` what is left is cut, and counted. An aborted
   * signal ends the wait and cuts nothing.
   */
  async drained(name: string, deadlineMs: number, signal?: AbortSignal): Promise<Drained> {
    for (const instance of this.#named(name)) instance.closeIdle();
    const end = await this.#idle(name, deadlineMs, signal);
    if (end !== 'deadline') return { cut: 0, websockets: 0, streams: 0 };
    const left = this.#named(name).flatMap(({ inFlight }) => [...inFlight]);
    for (const work of left) work.cut();
    return { cut: left.length, websockets: 0, streams: 0 };
  }

  figures(): Figures[] {
    return [...this.#all.values()].map(({ figures }) => figures);
  }

  /** Cuts everything and closes every connection. */
  close(): void {
    for (const instance of this.#all.values()) {
      for (const work of [...instance.inFlight]) work.cut();
      instance.closeIdle();
    }
  }

  #idle(name: string, deadlineMs: number, signal?: AbortSignal): Promise<'idle' | 'deadline' | 'aborted'> {
    const busy = () => this.#named(name).some(({ inFlight }) => inFlight.size > 0);
    if (!busy()) return Promise.resolve('idle');
    return new Promise((resolve) => {
      const finish = (end: 'idle' | 'deadline' | 'aborted') => {
        clearTimeout(timer);
        this.#waiters.delete(check);
        signal?.removeEventListener('abort', abort);
        resolve(end);
      };
      const check = () => {
        if (!busy()) finish('idle');
      };
      const abort = () => finish('aborted');
      const timer = setTimeout(finish, deadlineMs, 'deadline');
      this.#waiters.add(check);
      signal?.addEventListener('abort', abort);
    });
  }

  #named(name: string): Instance[] {
    return [...this.#all.values()].filter((instance) => instance.name === name);
  }

  #instance(route: Route): Instance {
    const key = `${route.instance} ${route.host} ${route.port}`;
    const known = this.#all.get(key);
    if (known === undefined) {
      const instance = new Instance(route, this.#onIdle);
      this.#all.set(key, instance);
      return instance;
    }
    known.revision = route.revision;
    known.weight = route.weight;
    return known;
  }

  readonly #onIdle = (instance: Instance): void => {
    this.#dropIfDone(instance);
    for (const check of [...this.#waiters]) check();
  };

  #dropIfDone(instance: Instance): void {
    if (instance.inFlight.size > 0 || this.#inTable.has(instance)) return;
    instance.closeIdle();
    this.#all.delete(`${instance.name} ${instance.host} ${instance.port}`);
  }
}
