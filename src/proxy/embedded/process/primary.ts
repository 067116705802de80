import type { Drained, Figures, ListenAddress, RoutingTable, TableStatus } from '../../port.ts';
import { notNewer, readTable } from '../../table.ts';
import type { Log } from '../log.ts';
import { type Answers, type Channel, Gone } from './channel.ts';
import { ActiveChecks } from './checks.ts';
import type { Reign } from './command.ts';
import { type Estate, FIRST_SOCKET, type Heir, type ServingCalls } from './messages.ts';
import { Ports } from './ports.ts';
import { sumOfDrains, sumOfStatus } from './sums.ts';
import { Turns } from './turns.ts';
import { Workers } from './workers.ts';

export interface PrimaryOptions {
  state: string;
  workers: number;
  log: Log;
}

/** A service of the table in force; `asked` is the address that the table came with, its port may be 0. */
interface Served {
  asked: ListenAddress;
  table: RoutingTable;
  drains: number;
}

/** Thrown by a primary that has handed over: ask the one that has its place. */
export class Superseded extends Error {}

/**
 * The first process of the data plane: it knows the tables, holds the ports, and has workers serve. It takes no
 * connection itself, so whatever a client sends can only ever end a worker.
 */
export class Primary {
  readonly #log: Log;
  readonly #ports = new Ports();
  readonly #workers: Workers;
  /** asked here, once for all workers */
  readonly #checks: ActiveChecks;
  readonly #services = new Map<string, Served>();
  /** of the primary before, while its workers still have requests in flight */
  #before: Channel<ServingCalls> | undefined;
  #superseded = false;
  readonly #turns = new Turns();

  constructor({ state, workers: count, log }: PrimaryOptions) {
    this.#log = log;
    this.#workers = new Workers({
      state,
      count,
      log,
      socketAt: (address) => this.#ports.socketAt(address),
      unhealthy: (service) => this.#checks.unhealthy(service),
    });
    this.#checks = new ActiveChecks({
      log,
      onVerdict: (service, instance, healthy) => this.#workers.verdict(service, instance, healthy),
    });
  }

  /** Resolves when the workers serve. */
  start(): Promise<void> {
    return this.#workers.start([]);
  }

  /** The same for what another primary leaves; it is asked for its workers' part until they have ended. */
  async inherit(
    { services, sockets }: Pick<Estate, 'services' | 'sockets'>,
    before: Channel<ServingCalls>,
  ): Promise<void> {
    for (const [i, { address, users }] of sockets.entries())
      this.#ports.adopt(address, FIRST_SOCKET + i, users);
    for (const { asked, table } of services)
      this.#services.set(table.service, { asked, table: readTable(table.service, table), drains: 0 });
    this.#before = before;
    void before.closed.then(() => {
      this.#before = undefined;
    });
    const tables = [...this.#services.values()].map(({ table }) => table);
    for (const { service, traffic, routes } of tables) this.#checks.apply(service, traffic.check, routes);
    await this.#workers.start(tables);
  }

  /** See `DataPlane.apply`: the table is in force in all workers, or nowhere. */
  apply(name: string, value: unknown, reign: Reign): Promise<TableStatus> {
    return this.#turns.take(async () => {
      this.expectInCommand();
      reign.expect();
      const asked = readTable(name, value);
      const current = this.#services.get(name);
      if (current && asked.version <= current.table.version) throw notNewer(asked, current.table.version);
      const stays = current !== undefined && serves(current, asked.listen);
      const listen = stays ? current.table.listen : await this.#ports.open(name, asked.listen);
      const table = { ...asked, listen };
      try {
        await this.#workers.apply(table, this.#checks.unhealthy(name));
      } catch (error) {
        if (!stays) this.#ports.release(name, listen);
        throw error;
      }
      if (current && !stays) this.#ports.release(name, current.table.listen);
      this.#services.set(name, { asked: asked.listen, table, drains: current?.drains ?? 0 });
      this.#checks.apply(name, table.traffic.check, table.routes);
      await this.#tellBefore((before) => before.call('apply', [table, this.#checks.unhealthy(name)]));
      const { version, hold, routes } = table;
      const weights = Object.fromEntries(routes.map(({ instance, weight }) => [instance, weight]));
      this.#log('info', 'table applied', { service: name, version, hold, listen, weights });
      return await this.#statusOf(name);
    });
  }

  /** See `DataPlane.remove`. */
  async remove(name: string, graceMs: number, reign: Reign): Promise<void> {
    const { ended } = await this.#turns.take(async () => {
      this.expectInCommand();
      reign.expect();
      const served = this.#services.get(name);
      this.#services.delete(name);
      this.#checks.remove(name);
      if (served) this.#ports.release(name, served.table.listen);
      // not awaited here: a new table of the same name need not wait for the last request of this one
      return {
        ended: Promise.all([
          this.#workers.remove(name, graceMs),
          this.#tellBefore((before) => before.call('remove', [name, graceMs])),
        ]),
      };
    });
    await ended;
    this.#log('info', 'service removed', { service: name });
  }

  async status(): Promise<TableStatus[]> {
    this.expectInCommand();
    const parts = await this.#workers.status();
    return [...this.#services.values()].map((served) => sumOf(served, parts));
  }

  /** What was counted of a service; nothing of one that is not known. */
  async figures(name: string): Promise<Figures[]> {
    this.expectInCommand();
    return await this.#workers.figures(name);
  }

  /** See `DataPlane.drained`; an aborted signal ends the wait and cuts nothing. */
  async drained(name: string, instance: string, deadlineMs: number, signal: AbortSignal): Promise<Drained> {
    this.expectInCommand();
    const drained = await this.serving.drained(name, instance, deadlineMs, signal);
    const served = this.#services.get(name);
    if (served) served.drains++;
    return drained;
  }

  /** What the workers here do, and those before them. */
  readonly serving: Answers<ServingCalls> = {
    apply: async (table, unhealthy) => {
      await this.#workers.apply(table, unhealthy);
      await this.#tellBefore((before) => before.call('apply', [table, unhealthy]));
    },
    remove: async (service, graceMs) => {
      await Promise.all([
        this.#workers.remove(service, graceMs),
        this.#tellBefore((before) => before.call('remove', [service, graceMs])),
      ]);
    },
    drained: async (service, instance, deadlineMs, signal) => {
      const [here, before] = await Promise.all([
        this.#workers.drained(service, instance, deadlineMs, signal),
        this.#tellBefore((channel) => channel.call('drained', [service, instance, deadlineMs], signal)),
      ]);
      return before ? sumOfDrains([here, before]) : here;
    },
  };

  /**
   * Lets `succeed` put another primary into this one's place: meanwhile no table changes. If it fails, this one goes on.
   * When it has succeeded, the ports are the other's alone; what the workers here have in flight, they end.
   */
  handOver(
    succeed: (estate: Pick<Estate, 'services' | 'sockets'>, fds: number[]) => Promise<Heir>,
    reign: Reign,
  ): Promise<Heir> {
    return this.#turns.take(async () => {
      this.expectInCommand();
      reign.expect();
      const sockets = this.#ports.all();
      const services = [...this.#services.values()].map(({ asked, table }) => ({ asked, table }));
      const heir = await succeed(
        { services, sockets: sockets.map(({ address, users }) => ({ address, users })) },
        sockets.map(({ fd }) => fd),
      );
      this.#superseded = true;
      this.#checks.stop();
      this.#ports.close();
      return heir;
    });
  }

  get superseded(): boolean {
    return this.#superseded;
  }

  /** After `handOver`: resolves when the workers have done what they had under way. */
  async leave(graceMs: number): Promise<void> {
    await this.#workers.leave(graceMs);
    await this.#before?.closed;
  }

  /** Ends all services as `remove` does. */
  async close(graceMs: number): Promise<void> {
    this.#checks.stop();
    this.#ports.close();
    await this.#workers.close(graceMs);
    await this.#before?.closed;
  }

  async #statusOf(name: string): Promise<TableStatus> {
    const served = this.#services.get(name);
    if (!served) throw new Error(`${name} is not served`);
    return sumOf(served, await this.#workers.status());
  }

  /** Those before only finish what they have: what they cannot do any more is no failure. */
  async #tellBefore<T>(tell: (before: Channel<ServingCalls>) => Promise<T>): Promise<T | undefined> {
    if (!this.#before) return undefined;
    return await tell(this.#before).catch((error) => {
      if (!(error instanceof Gone))
        this.#log('warn', 'the data plane before this one', { error: String(error) });
      return undefined;
    });
  }

  /** @throws Superseded */
  expectInCommand(): void {
    if (this.#superseded) throw new Superseded('another data plane has taken over');
  }
}

function sumOf({ table, drains }: Served, parts: TableStatus[]): TableStatus {
  const own = parts.filter(({ service }) => service === table.service);
  return { ...sumOfStatus(table, own), drains };
}

/** Whether a table that asks for this address is served there already. */
function serves({ asked, table }: Served, { host, port }: ListenAddress): boolean {
  return host === table.listen.host && (port === asked.port || port === table.listen.port);
}
