import { UnideployError } from '../../errors.ts';
import type { Drained, Figures, ListenAddress, RoutingTable, TableStatus } from '../port.ts';
import { notNewer, readTable } from '../table.ts';
import { AccessLog } from './access-log.ts';
import { LIMITS } from './limits.ts';
import { Listener, type ListenOn, listenHere } from './listener.ts';
import type { Log } from './log.ts';
import { sameClaim } from './match.ts';
import { Service } from './service.ts';

export interface PlaneOptions {
  log?: Log;
  /** how a listener gets its port */
  listenOn?: ListenOn;
  /** the file of the access log; without it none is written */
  accessLog?: string;
}

/** All services of one data-plane process. */
export class Plane {
  readonly #log: Log;
  readonly #listenOn: ListenOn;
  readonly #access: AccessLog | undefined;
  readonly #services = new Map<string, Served>();
  readonly #listeners = new Set<Listener>();
  /** removed, with requests under way */
  readonly #removed = new Set<Served>();
  #leaving = false;
  /** tables are applied one after another: services may share a listener */
  #turn: Promise<unknown> = Promise.resolve();
  readonly #clock: NodeJS.Timeout;

  constructor({ log = () => undefined, listenOn = listenHere, accessLog }: PlaneOptions = {}) {
    this.#log = log;
    this.#listenOn = listenOn;
    if (accessLog !== undefined)
      this.#access = new AccessLog(accessLog, (error) =>
        log('error', 'access log', { error: error.message }),
      );
    this.#clock = setInterval(() => this.#check(), LIMITS.tick);
    this.#clock.unref();
  }

  /** Applies a table whole, or throws (UD_TABLE_REFUSED, UD_PORT_IN_USE) and leaves everything as it was. */
  apply(name: string, value: unknown): Promise<TableStatus> {
    return this.#inTurn(async () => {
      const table = readTable(name, value);
      const served = this.#services.get(name);
      if (served && table.version <= served.service.table.version)
        throw notNewer(table, served.service.table.version);
      const service = served?.service ?? this.#newService(table);
      const listener = await this.#listenerFor(table, service, served?.listener);
      service.apply(table);
      listener.add(service);
      if (served && served.listener !== listener)
        void this.#release(served.listener, service, LIMITS.softClose);
      const now = { service, listener };
      this.#services.set(name, now);
      const { version, hold, routes } = table;
      const weights = Object.fromEntries(routes.map(({ instance, weight }) => [instance, weight]));
      this.#log('info', 'table applied', { service: name, version, hold, listen: listener.address, weights });
      return statusOf(now);
    });
  }

  /** Closes a service's listener when its last request has ended, at the latest after `graceMs`. Idempotent. */
  async remove(name: string, graceMs: number): Promise<void> {
    const closed = await this.#inTurn(async () => {
      const served = this.#services.get(name);
      this.#services.delete(name);
      // not awaited here: a new table of the same name need not wait for the last request of this one
      return { closed: served && this.#close(served, graceMs) };
    });
    await closed.closed;
  }

  status(): TableStatus[] {
    return [...this.#services.values()].map(statusOf);
  }

  /** What was counted, by instance and revision; nothing of an unknown service. */
  figures(name: string): Figures[] {
    return this.#services.get(name)?.service.figures() ?? [];
  }

  /** What active checks have found. */
  verdict(name: string, instance: string, healthy: boolean): void {
    this.#services.get(name)?.service.verdict(instance, healthy);
  }

  /** See `DataPlane.drained`; an aborted signal ends the wait and cuts nothing. */
  async drained(name: string, instance: string, deadlineMs: number, signal?: AbortSignal): Promise<Drained> {
    const served = this.#services.get(name);
    return served
      ? served.service.drained(instance, deadlineMs, signal)
      : { cut: 0, websockets: 0, streams: 0 };
  }

  /**
   * Takes no more connections. Those there are go on, by the newest tables, held requests too; resolves when the last
   * one has ended, at the latest after `graceMs`.
   */
  async leave(graceMs: number): Promise<void> {
    this.#leaving = true;
    await Promise.all([
      ...[...this.#listeners].map((listener) => listener.close(graceMs)),
      ...[...this.#services.values()].map(({ service }) => service.ended(graceMs)),
    ]);
    await this.close(0);
  }

  /** Ends all services as `remove` does. */
  async close(graceMs: number): Promise<void> {
    await Promise.all([...this.#services.keys()].map((name) => this.remove(name, graceMs)));
    clearInterval(this.#clock);
    this.#access?.close();
  }

  #newService(table: RoutingTable): Service {
    const service = new Service(table, (name, access) => this.#access?.write(name, access));
    // the first request must find the routes
    service.apply(table);
    return service;
  }

  /** The listener that the table asks for: the one that is open already, or a new one. */
  async #listenerFor(
    table: RoutingTable,
    service: Service,
    current: Listener | undefined,
  ): Promise<Listener> {
    const shared = table.listen.port === 0 ? undefined : this.#listenerAt(table.listen);
    const open = current && (this.#leaving || current.serves(table.listen)) ? current : shared;
    if (this.#leaving && !open) throw leaving(table);
    if (open) {
      refuseClaimed(table, open);
      open.certify(service, table.traffic);
      return open;
    }
    const listener = await Listener.open(table.listen, service, table.traffic, {
      listenOn: this.#listenOn,
      log: this.#log,
    });
    this.#listeners.add(listener);
    return listener;
  }

  #listenerAt(listen: ListenAddress): Listener | undefined {
    return [...this.#listeners].find((listener) => !listener.closing && listener.serves(listen));
  }

  async #close(served: Served, graceMs: number): Promise<void> {
    const { service, listener } = served;
    service.end();
    this.#removed.add(served);
    await Promise.all([this.#release(listener, service, graceMs), service.ended(graceMs)]);
    service.close();
    this.#removed.delete(served);
    this.#log('info', 'service removed', { service: service.name });
  }

  /** Takes a service from a listener, and closes it where that was the last one. */
  async #release(listener: Listener, service: Service, graceMs: number): Promise<void> {
    if (listener.delete(service)) return;
    await listener.close(graceMs);
    this.#listeners.delete(listener);
  }

  #check(): void {
    const now = performance.now();
    for (const listener of this.#listeners) listener.check(now);
    for (const { service } of [...this.#services.values(), ...this.#removed]) service.check(now);
  }

  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const turn = this.#turn.then(work, work);
    this.#turn = turn.catch(() => undefined);
    return turn;
  }
}

interface Served {
  service: Service;
  listener: Listener;
}

function statusOf({ service, listener }: Served): TableStatus {
  return service.status(listener.address);
}

function refuseClaimed(table: RoutingTable, listener: Listener): void {
  for (const { name, policy } of listener.services) {
    if (name === table.service) continue;
    const claim = sameClaim(table.traffic.match, policy.match);
    const { host, port } = listener.address;
    const apart =
      table.traffic.mode === 'http' &&
      policy.mode === 'http' &&
      (table.traffic.tls === null) === (policy.tls === null);
    if (claim === undefined && apart) continue;
    const taken = claim
      ? `requests for ${claim.host ?? 'any host'} below ${claim.path}`
      : 'connections of another kind';
    throw new UnideployError(
      'UD_PORT_IN_USE',
      `${name} takes ${taken} on ${host}:${port} already`,
      'choose another `listen` address, or other hosts and paths',
    );
  }
}

function leaving({ service }: RoutingTable): UnideployError {
  return new UnideployError(
    'UD_PROXY_FAILED',
    `the process that is to serve ${service} is ending`,
    'ask the data plane that took its place',
  );
}
