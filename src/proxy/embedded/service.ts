import type { Figures, RoutingTable, TableStatus } from '../port.ts';
import { Balancer } from './balancer.ts';
import { Hold, type Waiting } from './hold.ts';
import type { Instance } from './instance.ts';
import { Instances } from './instances.ts';
import type { Refusal } from './refusal.ts';

/** A request on its way to an instance. */
export interface Routed extends Waiting {
  /** instances that were tried already; emptied by the hold, after which they may be good again */
  tried: Instance[];
  send(instance: Instance): void;
}

/** One service: its table, who waits for it, and which instance is next. */
export class Service {
  readonly name: string;
  readonly instances = new Instances();
  readonly hold = new Hold();
  requests = 0;
  failures = 0;
  holds = 0;
  /** refusals by their reason */
  readonly refused: Record<string, number> = {};
  #table: RoutingTable;
  #balancer: Balancer<Instance> = new Balancer([]);
  #routed: Instance[] = [];
  #ended = false;

  constructor(table: RoutingTable) {
    this.name = table.service;
    this.#table = { ...table, routes: [] };
  }

  get table(): RoutingTable {
    return this.#table;
  }

  /** Takes a table over, from one request to the next. */
  apply(table: RoutingTable): void {
    this.#table = table;
    this.#routed = this.instances.apply(table.routes);
    this.#balancer = new Balancer(this.#routed, this.#balancer);
    if (this.#closed()) this.hold.refuseAll(this.#noInstance());
    else if (this.#holds()) this.hold.keep();
    else this.hold.release();
  }

  /** Gives a request to an instance, to the hold, or its refusal. */
  route(request: Routed): void {
    if (this.#closed()) request.refuse(this.#noInstance());
    else if (this.#holds() || (this.hold.size > 0 && request.tried.length === 0)) {
      request.tried = [];
      this.holds++;
      this.hold.add(request);
    } else this.proceed(request);
  }

  /** The same for a request whose turn has come. */
  proceed(request: Routed): void {
    const instance = this.#balancer.choose(Date.now(), request.tried);
    if (instance) request.send(instance);
    else request.refuse({ status: 502, reason: 'no-instance', message: 'no instance could be reached' });
  }

  /** No more requests: those that wait are refused. */
  end(): void {
    this.#ended = true;
    this.hold.refuseAll(this.#noInstance());
  }

  figures(): Figures[] {
    return this.instances.figures();
  }

  /** A check found the instance well, or not: it is out until the next verdict. */
  verdict(instance: string, healthy: boolean): void {
    for (const each of this.#routed)
      if (each.name === instance) each.ejectedUntil = healthy ? 0 : Number.POSITIVE_INFINITY;
  }

  /** An answer of the proxy's own. */
  refuse(reason: string): void {
    this.failures++;
    this.refused[reason] = (this.refused[reason] ?? 0) + 1;
  }

  status(listen: RoutingTable['listen']): TableStatus {
    const { version, hold, preview, traffic, routes } = this.#table;
    return {
      service: this.name,
      version,
      listen,
      hold,
      preview,
      traffic,
      held: this.hold.size,
      requests: this.requests,
      failures: this.failures,
      refused: this.refused,
      holds: this.holds,
      drains: 0,
      routes: routes.map((route, i) => ({
        ...route,
        inFlight: this.#routed[i]?.inFlight.size ?? 0,
        usable: (this.#routed[i]?.ejectedUntil ?? 0) <= Date.now(),
      })),
    };
  }

  #closed(): boolean {
    return this.#ended || (!this.#table.hold && this.#table.routes.length === 0);
  }

  #holds(): boolean {
    return this.#table.hold || !this.#balancer.open;
  }

  #noInstance(): Refusal {
    const message = this.#ended ? `${this.name} is being removed` : `${this.name} has no instance`;
    return { status: 503, reason: 'no-instance', message, retryAfter: 1 };
  }
}
