import type { TrafficPolicy } from '../../domain/traffic.ts';
import type { Drained, Figures, Route } from '../port.ts';
import { type InFlight, Instance } from './instance.ts';
import { LIMITS } from './limits.ts';

/** The instances of one service: those of its table, and those that have left it and are still busy. */
export class Instances {
  readonly #all = new Map<string, Instance>();
  #inTable = new Set<Instance>();
  /** of instances that have gone: a revision is judged by them, too */
  readonly #past: Figures[] = [];
  readonly #waiters = new Set<() => void>();
  readonly #ejections: (instance: Instance) => number;

  /** `ejections`: how often an instance was taken out. */
  constructor(ejections: (instance: Instance) => number) {
    this.#ejections = ejections;
  }

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
   * Resolves when the instance has nothing in flight. WebSockets and event streams are told to go after their grace
   * times; after `deadlineMs` what is left is cut. An aborted signal ends the wait and cuts nothing.
   */
  async drained(
    name: string,
    graces: TrafficPolicy['drain'],
    deadlineMs: number,
    signal?: AbortSignal,
  ): Promise<Drained> {
    for (const instance of this.#named(name)) instance.closeIdle();
    const busy = () => this.#busyWith(name);
    const websockets = sendAwayAfter(busy, 'websocket', graces.websocket);
    const streams = sendAwayAfter(busy, 'events', graces.events);
    const end = await this.#until(() => busy().length === 0, deadlineMs, signal);
    const left = end === 'deadline' ? busy() : [];
    for (const work of left) work.cut();
    const gone = ({ told }: SentAway) => [...told].filter((work) => !left.includes(work)).length;
    for (const each of [websockets, streams]) clearTimeout(each.timer);
    return { cut: left.length, websockets: gone(websockets), streams: gone(streams) };
  }

  /**
   * Resolves when none has anything in flight, at the latest after `deadlineMs`. WebSockets and event streams are told to
   * go after their grace times.
   */
  async idle(graces: TrafficPolicy['drain'], deadlineMs: number): Promise<void> {
    const busy = () => [...this.#all.values()].flatMap(({ inFlight }) => [...inFlight]);
    const sent = [
      sendAwayAfter(busy, 'websocket', graces.websocket),
      sendAwayAfter(busy, 'events', graces.events),
    ];
    await this.#until(() => busy().length === 0, deadlineMs);
    for (const { timer } of sent) clearTimeout(timer);
  }

  /** Looks after deadlines; `now` as performance.now(). */
  check(now: number): void {
    for (const instance of this.#all.values()) instance.check(now);
  }

  figures(): Figures[] {
    return [...this.#past, ...[...this.#all.values()].flatMap((instance) => this.#figuresOf(instance))];
  }

  /** Cuts everything and closes every connection. */
  close(): void {
    for (const instance of this.#all.values()) {
      for (const work of [...instance.inFlight]) work.cut();
      instance.closeIdle();
    }
  }

  /** Waits for a condition that holds once something has become idle. */
  #until(
    idle: () => boolean,
    deadlineMs: number,
    signal?: AbortSignal,
  ): Promise<'idle' | 'deadline' | 'aborted'> {
    if (idle()) return Promise.resolve('idle');
    return new Promise((resolve) => {
      const finish = (end: 'idle' | 'deadline' | 'aborted') => {
        clearTimeout(timer);
        this.#waiters.delete(check);
        signal?.removeEventListener('abort', abort);
        resolve(end);
      };
      const check = () => {
        if (idle()) finish('idle');
      };
      const abort = () => finish('aborted');
      const timer = setTimeout(finish, deadlineMs, 'deadline');
      this.#waiters.add(check);
      signal?.addEventListener('abort', abort);
    });
  }

  #busyWith(name: string): InFlight[] {
    return this.#named(name).flatMap(({ inFlight }) => [...inFlight]);
  }

  #named(name: string): Instance[] {
    return [...this.#all.values()].filter((instance) => instance.name === name);
  }

  #instance(route: Route): Instance {
    const key = keyOf({ name: route.instance, host: route.host, port: route.port });
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
    this.#all.delete(keyOf(instance));
    this.#past.push(...this.#figuresOf(instance));
    this.#past.splice(0, this.#past.length - LIMITS.past);
  }

  #figuresOf(instance: Instance): Figures[] {
    return instance.figures(this.#ejections(instance));
  }
}

interface SentAway {
  told: Set<InFlight>;
  timer: NodeJS.Timeout;
}

function sendAwayAfter(busy: () => InFlight[], kind: InFlight['kind'], graceMs: number): SentAway {
  const told = new Set<InFlight>();
  const timer = setTimeout(() => {
    for (const work of busy()) {
      if (work.kind !== kind) continue;
      told.add(work);
      work.goAway?.();
    }
  }, graceMs);
  return { told, timer };
}

function keyOf({ name, host, port }: Pick<Instance, 'name' | 'host' | 'port'>): string {
  return `${name} ${host} ${port}`;
}
