import { canonical } from '../domain/revision.ts';
import { UnideployError } from '../errors.ts';
import type { DataPlane, Figures, ListenAddress, Route, RoutingTable, TableStatus } from '../proxy/port.ts';
import type { RolloutStore } from '../store/port.ts';

/** How a service is reached, whatever its routes are. */
export type Front = Pick<RoutingTable, 'listen' | 'traffic' | 'preview'>;

/** Edits the routing tables: each edit makes a whole new version, one after the other for each service. */
export class Routing {
  readonly #dataPlane: DataPlane;
  readonly #store: Pick<RolloutStore, 'table' | 'putTable'>;
  readonly #turns = new Map<string, Promise<unknown>>();
  /** the tables as the data plane was last known to have them */
  readonly #last = new Map<string, RoutingTable>();
  /** services that were removed here; the store has their tables until their rollouts have ended */
  readonly #removed = new Set<string>();

  constructor(dataPlane: DataPlane, store: Pick<RolloutStore, 'table' | 'putTable'>) {
    this.#dataPlane = dataPlane;
    this.#store = store;
  }

  /** What the data plane does for a service; a data plane that has lost the table (a new process) gets it again first. */
  async status(service: string): Promise<TableStatus | null> {
    const found = await this.#find(service);
    if (found) return found;
    return await this.#inTurn(service, async () => {
      const again = await this.#find(service);
      const last = again || this.#removed.has(service) ? null : this.#store.table(service);
      return again ?? (last && (await this.#surviving(() => this.#dataPlane.apply(last))));
    });
  }

  /** Has the service reached where and how it should be, without touching its routes (UD_PORT_IN_USE). */
  async front(service: string, front: Front): Promise<void> {
    this.#removed.delete(service);
    await this.#edit(
      service,
      (table) => ({ ...table, ...front, listen: sameListener(table.listen, front.listen) ?? front.listen }),
      newTable(service, front),
    );
  }

  /** Says which revision preview requests reach; null: they go where all go. */
  async preview(service: string, preview: number | null): Promise<void> {
    await this.#edit(service, (table) => ({ ...table, preview }));
  }

  /** Puts the route in the table, in place of what the table has for that instance. Requests wait for the first no more. */
  async put(service: string, route: Route): Promise<void> {
    await this.#edit(service, (table) => ({
      ...table,
      hold: table.hold && table.routes.length > 0,
      routes: [...table.routes.filter(({ instance }) => instance !== route.instance), route],
    }));
  }

  /** No new requests for the instance; what it has under way goes on. */
  async quiet(service: string, instance: string): Promise<void> {
    await this.#editRoute(service, instance, { weight: 0 });
  }

  /** Says which revisions instances serve now, their shares unchanged, all with one table. */
  async relabel(service: string, revisions: Record<string, number>): Promise<void> {
    await this.#edit(service, (table) => ({
      ...table,
      routes: table.routes.map((route) => ({
        ...route,
        revision: revisions[route.instance] ?? route.revision,
      })),
    }));
  }

  /** Gives instances other shares, all with one table; those that the table does not have are left out. */
  async shift(service: string, weights: Record<string, number>): Promise<void> {
    await this.#edit(service, (table) => ({
      ...table,
      routes: table.routes.map((route) => ({ ...route, weight: weights[route.instance] ?? route.weight })),
    }));
  }

  /** @param afterLast what becomes of new requests when it was the last one: they wait for the next, or are refused */
  async drop(service: string, instance: string, afterLast: 'wait' | 'refuse'): Promise<void> {
    await this.#edit(service, (table) => {
      const routes = table.routes.filter((route) => route.instance !== instance);
      return { ...table, routes, hold: table.hold || (routes.length === 0 && afterLast === 'wait') };
    });
  }

  /** While held, new requests of the service wait in the data plane. */
  async hold(service: string, hold: boolean): Promise<void> {
    await this.#edit(service, (table) => ({ ...table, hold }));
  }

  /** What was counted of each instance. */
  async figures(service: string): Promise<Figures[]> {
    return await this.#dataPlane.figures(service);
  }

  async drained(service: string, instance: string, deadline: number): Promise<{ cut: number }> {
    // What was in flight in a data plane that died has ended with it.
    return await this.#surviving(() => this.#dataPlane.drained(service, instance, deadline));
  }

  async #editRoute(service: string, instance: string, change: Partial<Route>): Promise<void> {
    await this.#edit(service, (table) => ({
      ...table,
      routes: table.routes.map((route) => (route.instance === instance ? { ...route, ...change } : route)),
    }));
  }

  async #edit(
    service: string,
    change: (table: RoutingTable) => RoutingTable,
    first?: RoutingTable,
  ): Promise<void> {
    await this.#inTurn(service, async () => {
      const last = this.#last.get(service);
      if (last && (await this.#changed(service, last, change).catch(() => false))) return;
      await this.#surviving(() => this.#editFound(service, change, first));
    });
  }

  async #editFound(
    service: string,
    change: (table: RoutingTable) => RoutingTable,
    first?: RoutingTable,
  ): Promise<void> {
    const running = await this.#find(service);
    const saved = this.#store.table(service);
    const before = running ? toTable(running) : (saved ?? first);
    if (!before) return;
    if (running) this.#last.set(service, before);
    const changed = change(before);
    if (running && sameTable(before, changed)) return;
    await this.#apply({ ...changed, version: Math.max(before.version, saved?.version ?? 0) + 1 });
  }

  /** Does it once more where the data plane has died over it: the one that takes its place is asked then. */
  async #surviving<T>(call: () => Promise<T>): Promise<T> {
    try {
      return await call();
    } catch (error) {
      if (!(error instanceof UnideployError) || error.code !== 'UD_PROXY_FAILED') throw error;
      await this.#dataPlane.ensure();
      return await call();
    }
  }

  /**
   * Changes the table as it was last applied, without asking for it first: nobody else writes tables, and a cutover waits
   * for nothing that it need not. Whether it has changed; otherwise the table has to be looked at.
   */
  async #changed(
    service: string,
    last: RoutingTable,
    change: (table: RoutingTable) => RoutingTable,
  ): Promise<boolean> {
    this.#last.delete(service);
    const changed = change(last);
    if (sameTable(last, changed)) return false;
    await this.#apply({ ...changed, version: last.version + 1 });
    return true;
  }

  async #apply(table: RoutingTable): Promise<void> {
    const applied = toTable(await this.#dataPlane.apply(table));
    this.#store.putTable(applied);
    this.#last.set(table.service, applied);
  }

  /** Ends the service's listener, and forgets nothing: the store's table goes with the service. */
  async remove(service: string, grace: number): Promise<void> {
    await this.#inTurn(service, async () => {
      this.#last.delete(service);
      await this.#surviving(() => this.#dataPlane.remove(service, grace));
      this.#removed.add(service);
    });
  }

  async #find(service: string): Promise<TableStatus | undefined> {
    return (await this.#tables()).find((table) => table.service === service);
  }

  /** A data plane that does not answer is started anew, or waited for. */
  async #tables(): Promise<TableStatus[]> {
    try {
      return await this.#dataPlane.status();
    } catch {
      await this.#dataPlane.ensure();
      return await this.#dataPlane.status();
    }
  }

  /** One edit after the other: each starts from what the one before has left. */
  async #inTurn<T>(service: string, edit: () => Promise<T>): Promise<T> {
    const turn = (this.#turns.get(service) ?? Promise.resolve()).then(edit);
    this.#turns.set(
      service,
      turn.catch(() => {}),
    );
    return await turn;
  }
}

function newTable(service: string, front: Front): RoutingTable {
  return { service, version: 0, ...front, hold: false, routes: [] };
}

/** The table that a data plane serves by. */
export function toTable({
  service,
  version,
  listen,
  hold,
  preview,
  traffic,
  routes,
}: TableStatus): RoutingTable {
  return {
    service,
    version,
    listen,
    hold,
    preview,
    traffic,
    routes: routes.map(({ instance, revision, host, port, weight }) => ({
      instance,
      revision,
      host,
      port,
      weight,
    })),
  };
}

function sameTable(a: RoutingTable, b: RoutingTable): boolean {
  return canonical(a) === canonical(b);
}

/** Asking for any port is content with the one it has. */
function sameListener(has: ListenAddress, wants: ListenAddress): ListenAddress | null {
  return has.host === wants.host && (wants.port === 0 || has.port === wants.port) ? has : null;
}
