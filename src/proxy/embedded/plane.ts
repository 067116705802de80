import { UnideployError } from '../../errors.ts';
import type { Drained, Figures, RoutingTable, TableStatus } from '../port.ts';
import { notNewer, readTable } from '../table.ts';
import { LIMITS } from './limits.ts';
import { Listener, type ListenOn } from './listener.ts';
import type { Log } from './log.ts';
import { Service } from './service.ts';

export interface PlaneOptions {
  /** how a port is opened; otherwise, by this process alone */
  listenOn?: ListenOn;
  /** file that the access log goes to; none without it */
  accessLog?: string;
}

/** All services of one data-plane process. */
export class Plane {
  readonly #log: Log;
  readonly #options: PlaneOptions;
  readonly #services = new Map<string, Served>();
  /** tables of one service are applied one after another */
  readonly #turns = new Map<string, Promise<unknown>>();

  #leaving = false;

  constructor(log: Log = () => undefined, options: PlaneOptions = {}) {
    this.#log = log;
    this.#options = options;
  }

  /** Applies a table whole, or throws (UD_TABLE_REFUSED, UD_PORT_IN_USE) and leaves everything as it was. */
  apply(name: string, value: unknown): Promise<TableStatus> {
    return this.#inTurn(name, async () => {
      const table = readTable(name, value);
      const served = this.#services.get(name);
      if (served === undefined) return this.#open(table);
      const { service, listener } = served;
      if (table.version <= service.table.version) throw notNewer(table, service.table.version);
      if (!this.#leaving && !listener.serves(table.listen)) {
        served.listener = await Listener.open(table.listen, service, this.#log, this.#options.listenOn);
        listener
          .close(LIMITS.softClose)
          .catch((error) => this.#log('error', 'close', { error: String(error) }));
      }
      return this.#take(served, table);
    });
  }

  /** Closes a service's listener when its last request has ended, at the latest after `graceMs`. Idempotent. */
  async remove(name: string, graceMs: number): Promise<void> {
    const closed = await this.#inTurn(name, async () => {
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

  /** See `DataPlane.drained`; an aborted signal ends the wait and cuts nothing. */
  async drained(name: string, instance: string, deadlineMs: number, signal?: AbortSignal): Promise<Drained> {
    const served = this.#services.get(name);
    return served
      ? served.service.instances.drained(instance, deadlineMs, signal)
      : { cut: 0, websockets: 0, streams: 0 };
  }

  /** What was counted of a service; nothing of one that is not known. */
  figures(name: string): Figures[] {
    return this.#services.get(name)?.service.figures() ?? [];
  }

  /** What a check says of an instance. */
  verdict(name: string, instance: string, healthy: boolean): void {
    this.#services.get(name)?.service.verdict(instance, healthy);
  }

  /**
   * Takes no more connections. Those there are go on, by the newest tables, held requests too; resolves when the last
   * one has ended, at the latest after `graceMs`.
   */
  async leave(graceMs: number): Promise<void> {
    this.#leaving = true;
    await Promise.all(
      [...this.#services].map(async ([name, { listener }]) => {
        await listener.close(graceMs);
        await this.remove(name, 0);
      }),
    );
  }

  /** Ends all services as `remove` does. */
  async close(graceMs: number): Promise<void> {
    await Promise.all([...this.#services.keys()].map((name) => this.remove(name, graceMs)));
  }

  async #open(table: RoutingTable): Promise<TableStatus> {
    if (this.#leaving) throw leaving(table);
    const service = new Service(table);
    // the first request must find the routes
    service.apply(table);
    const listener = await Listener.open(table.listen, service, this.#log, this.#options.listenOn);
    const served = { service, listener };
    this.#services.set(table.service, served);
    return this.#take(served, table);
  }

  #take(served: Served, table: RoutingTable): TableStatus {
    served.service.apply(table);
    const { service, version, hold, routes } = table;
    const weights = Object.fromEntries(routes.map(({ instance, weight }) => [instance, weight]));
    this.#log('info', 'table applied', { service, version, hold, listen: served.listener.address, weights });
    return statusOf(served);
  }

  async #close({ service, listener }: Served, graceMs: number): Promise<void> {
    service.end();
    await listener.close(graceMs);
    service.instances.close();
    this.#log('info', 'service removed', { service: service.name });
  }

  #inTurn<T>(name: string, work: () => Promise<T>): Promise<T> {
    const before = this.#turns.get(name) ?? Promise.resolve();
    const turn = before.then(work, work);
    this.#turns.set(name, turn);
    const forget = () => {
      if (this.#turns.get(name) === turn) this.#turns.delete(name);
    };
    turn.then(forget, forget);
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

function leaving({ service }: RoutingTable): UnideployError {
  return new UnideployError(
    'UD_TABLE_REFUSED',
    `the process that is to serve ${service} is ending`,
    'ask the data plane that took its place',
  );
}
