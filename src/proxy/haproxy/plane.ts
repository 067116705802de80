import { mkdir, rm } from 'node:fs/promises';
import { UnideployError } from '../../errors.ts';
import { metricsText } from '../metrics.ts';
import type { Drained, Figures, ListenAddress, RoutingTable, TableStatus } from '../port.ts';
import { readTable } from '../table.ts';
import { busyServers, closeIdle } from './busy.ts';
import { conflictOf } from './claims.ts';
import { haproxyConfig } from './config.ts';
import { drain } from './drain.ts';
import { Leaving } from './leaving.ts';
import { LIMITS } from './limits.ts';
import { word } from './names.ts';
import { freePort } from './process.ts';
import { Processes } from './processes.ts';
import { linesPipe, type ProcessRecord, type Served, servedBy } from './records.ts';
import { Renewal } from './renewal.ts';
import { setServers } from './servers.ts';
import { statusOf } from './status.ts';
import { Tidying } from './tidying.ts';
import { NOTHING } from './totals.ts';
import { Turns } from './turns.ts';
import { Watch } from './watch.ts';

/**
 * The services of one state folder. Those of one address share a process; what the runtime API cannot change there is
 * changed by a new process, which takes the listening socket over.
 */
export class HaproxyPlane {
  readonly #folder: string;
  readonly #processes: Processes;
  readonly #watch: Watch;
  /** what changes processes happens one after another */
  readonly #turns = new Turns();
  readonly #leaving: Leaving;
  readonly #renewal: Renewal;
  readonly #tidying: Tidying;
  #adopted: Promise<void> | undefined;

  /** @param expectCommand throws UD_FENCED where another controller has the processes */
  constructor(folder: string, program: string, expectCommand: () => void) {
    this.#folder = folder;
    this.#processes = new Processes(folder, program, expectCommand);
    this.#watch = new Watch(folder, (service) => void this.#rebalance(service).catch(() => undefined));
    this.#leaving = new Leaving(this.#processes, this.#turns, (record, stat) =>
      this.#watch.see(record, stat),
    );
    this.#renewal = new Renewal(this.#processes, this.#turns, (level, message, service) =>
      this.#watch.say(level, message, { service }),
    );
    this.#tidying = new Tidying(this.#processes, this.#turns);
  }

  /** See `DataPlane.apply`. */
  async apply(value: RoutingTable): Promise<TableStatus> {
    await this.#adopt();
    await this.#turns.take(() => this.#apply(readTable(value.service, value)));
    const status = (await this.status()).find(({ service }) => service === value.service);
    if (status) return status;
    throw new UnideployError('UD_PROXY_FAILED', `HAProxy has ended`, 'the table is applied again');
  }

  /** See `DataPlane.remove`. */
  async remove(service: string, graceMs: number): Promise<void> {
    await this.#adopt();
    const until = performance.now() + graceMs;
    await this.#turns.take(async () => {
      const current = (await this.#processes.serving()).find((record) => servedBy(record, service));
      if (!current) return;
      await this.#processes.runtime(current).setClosed(word(service), true);
      await this.#without(current, service);
    });
    const leaving = (await this.#processes.running()).filter((record) => servedBy(record, service));
    const served = new Set(
      (await this.#processes.serving()).flatMap(({ services }) => services.map(({ table }) => table.service)),
    );
    await Promise.all(
      leaving.map((record) =>
        record.services.some(({ table }) => served.has(table.service))
          ? drain(
              () => busyServers(this.#processes, service, undefined),
              { websocket: graceMs, events: graceMs },
              graceMs,
            )
          : this.#leaving.finish(record, until),
      ),
    );
    this.#watch.forget(service);
  }

  /** See `DataPlane.status`. A service whose process has died is not among them: whoever knows its table applies it again. */
  async status(): Promise<TableStatus[]> {
    await this.#adopt();
    // in turn: what an ended process counted is always counted once
    const stats = await this.#turns.take(async () => this.#processes.stats(await this.#processes.running()));
    return stats
      .filter(({ record }) => record.role === 'serving')
      .flatMap(({ record }) =>
        record.services.map((served) => {
          const { service } = served.table;
          return statusOf(served, stats, this.#watch.refused(service), this.#watch.out(service));
        }),
      );
  }

  /** See `DataPlane.drained`. */
  async drained(service: string, instance: string, deadlineMs: number): Promise<Drained> {
    await this.#adopt();
    const running = (await this.#processes.running()).sort((a, b) => b.since - a.since);
    const newest = running.find((record) => servedBy(record, service));
    const grace = newest && servedBy(newest, service)?.table.traffic.drain;
    const drained = await drain(
      () => busyServers(this.#processes, service, instance),
      grace ?? NO_GRACE,
      deadlineMs,
    );
    await this.#turns.take(async () => {
      if (drained.cut === 0) await closeIdle(this.#processes, service, instance);
      for (const record of await this.#processes.serving()) {
        const own = servedBy(record, service);
        if (own) own.drains++;
        if (own) await this.#processes.write(record, {});
      }
    });
    return drained;
  }

  /** See `DataPlane.figures`. */
  async figures(service: string): Promise<Figures[]> {
    await this.#adopt();
    for (const { record, stat } of await this.#processes.stats(await this.#processes.running()))
      this.#watch.see(record, stat);
    return this.#watch.figures(service);
  }

  /** See `DataPlane.metrics`. */
  async metrics(): Promise<string> {
    const services = (await this.status()).map(async (status) => ({
      status,
      figures: await this.figures(status.service),
    }));
    return metricsText(await Promise.all(services));
  }

  /** See `DataPlane.upgrade`. */
  async upgrade(): Promise<void> {
    await this.#adopt();
    await this.#turns.take(async () => {
      for (const record of await this.#processes.serving())
        await this.#replace(record, record.listen, record.services, () => false);
    });
  }

  /** See `DataPlane.stop`. */
  async stop(): Promise<void> {
    await this.#adopt();
    const running = await this.#processes.running();
    const services = new Set(running.flatMap((record) => record.services.map(({ table }) => table.service)));
    await Promise.all([...services].map((service) => this.remove(service, LIMITS.softClose)));
    this.#renewal.end();
    await this.#watch.end();
    await rm(linesPipe(this.#folder), { force: true });
    this.#adopted = undefined;
  }

  /** Takes up what a controller left that was killed: half-started processes end, those that were leaving go on to. */
  #adopt(): Promise<void> {
    this.#adopted ??= this.#turns.take(async () => {
      await mkdir(this.#folder, { recursive: true, mode: 0o700 });
      await this.#watch.begin();
      const records = await this.#processes.records();
      for (const record of records.filter(({ role }) => role === 'starting'))
        await this.#processes.end(record);
      const running = (await this.#processes.running()).sort((a, b) => b.since - a.since);
      const seen = new Set<string>();
      for (const record of running) {
        const address = `${record.listen.host} ${record.listen.port}`;
        // killed between the start of a new process and the leave of the one before it
        if (record.role === 'serving' && seen.has(address)) await this.#processes.leave(record);
        if (record.role === 'leaving') this.#leaving.letGo(record);
        else for (const { table } of record.services) await this.#adoptService(record, table);
        seen.add(address);
      }
      this.#renewal.begin();
    });
    return this.#adopted;
  }

  async #adoptService(record: ProcessRecord, table: RoutingTable): Promise<void> {
    this.#watch.serves(table);
    // servers that were ejected are in again
    await this.#setServers(record, table, NONE).catch(() => undefined);
    this.#tidying.begin(table.service);
  }

  async #apply(table: RoutingTable): Promise<void> {
    const serving = await this.#processes.serving();
    const current = serving.find((record) => servedBy(record, table.service));
    const before = current && servedBy(current, table.service);
    if (before && table.version <= before.table.version) throw notNewer(table, before.table.version);
    const stays = current && before && serves(before, current.listen, table.listen);
    const home = stays ? current : serving.find(({ listen }) => sameAddress(listen, table.listen));
    const others = home?.services.filter((each) => each.table.service !== table.service) ?? [];
    const conflict = conflictOf(
      table,
      others.map((each) => each.table),
    );
    if (conflict !== undefined) throw claimed(table, conflict);
    const listen = home?.listen ?? { host: table.listen.host, port: await freePort(table.listen) };
    const served: Served = {
      asked: table.listen,
      table: { ...table, listen },
      before: before?.before ?? NOTHING,
      drains: before?.drains ?? 0,
    };
    const services = [...others, served];
    if (stays && this.#sameShape(home as ProcessRecord, services))
      await this.#update(current, served, services);
    else {
      const fresh = ({ service, traffic }: RoutingTable) =>
        service === table.service &&
        JSON.stringify(traffic.tls) !== JSON.stringify(before?.table.traffic.tls);
      await this.#replace(home, listen, services, fresh);
      if (current && current !== home) await this.#without(current, table.service, LIMITS.softClose);
    }
    this.#watch.serves(served.table);
    await this.#tellLeaving(served.table);
    this.#tidying.begin(table.service);
  }

  /** Whether the runtime API can change everything that is different. */
  #sameShape(record: ProcessRecord, services: Served[]): boolean {
    const shape = (some: Served[]) =>
      haproxyConfig(
        record.listen,
        some.map(({ table }) => table),
        this.#processes.files(record),
        false,
      );
    return shape(record.services) === shape(services);
  }

  async #update(record: ProcessRecord, { table }: Served, services: Served[]): Promise<void> {
    await this.#setServers(record, table, this.#watch.out(table.service));
    await this.#processes.write(record, { services });
  }

  async #replace(
    old: ProcessRecord | undefined,
    listen: ListenAddress,
    services: Served[],
    fresh: (table: RoutingTable) => boolean,
  ): Promise<void> {
    const tables = services.map(({ table }) => table);
    const pems = await this.#processes.certificates(tables, old, fresh);
    const record = await this.#processes.start(listen, services, pems, old);
    // a new process has the weights of the tables
    for (const table of tables)
      if (this.#watch.out(table.service).size > 0)
        await this.#setServers(record, table, this.#watch.out(table.service));
    if (!old) return;
    await this.#processes.leave(old);
    this.#leaving.letGo(old);
  }

  /** Takes a service away from a process; one that has no other leaves. */
  async #without(record: ProcessRecord, service: string, graceMs?: number): Promise<void> {
    const rest = record.services.filter(({ table }) => table.service !== service);
    if (rest.length > 0) return this.#replace(record, record.listen, rest, () => false);
    await this.#processes.leave(record);
    if (graceMs !== undefined) this.#leaving.letGo(record, performance.now() + graceMs);
  }

  #setServers(record: ProcessRecord, table: RoutingTable, out: ReadonlySet<string>): Promise<void> {
    return setServers(this.#processes.runtime(record), this.#processes.files(record), table, out);
  }

  /** What is left in a process that is leaving, and what waits there, goes by the table in force too. */
  async #tellLeaving(table: RoutingTable): Promise<void> {
    const out = this.#watch.out(table.service);
    for (const record of await this.#processes.running())
      if (record.role === 'leaving' && servedBy(record, table.service))
        // it may end meanwhile
        await this.#setServers(record, table, out).catch(() => undefined);
  }

  /** The ejected servers are others than before. */
  async #rebalance(service: string): Promise<void> {
    await this.#turns.take(async () => {
      for (const record of await this.#processes.serving()) {
        const table = servedBy(record, service)?.table;
        if (table === undefined) continue;
        await this.#setServers(record, table, this.#watch.out(service));
        await this.#tellLeaving(table);
      }
    });
  }
}

const NONE: ReadonlySet<string> = new Set();
const NO_GRACE = { websocket: 0, events: 0 };

/** Whether a table that asks for this address is served there already. */
function serves({ asked }: Served, listen: ListenAddress, { host, port }: ListenAddress): boolean {
  return host === asked.host && (port === asked.port || port === listen.port);
}

function sameAddress(listen: ListenAddress, { host, port }: ListenAddress): boolean {
  return port !== 0 && host === listen.host && port === listen.port;
}

function notNewer(table: RoutingTable, current: number): UnideployError {
  return new UnideployError(
    'UD_TABLE_REFUSED',
    `version ${table.version} of the routing table of ${table.service} is not newer than ${current}, which is in force`,
    'another controller may be at work: ask for the status, and go on from its version',
  );
}

function claimed({ service, listen }: RoutingTable, conflict: string): UnideployError {
  return new UnideployError(
    'UD_PORT_IN_USE',
    `${service} cannot share ${listen.host}:${listen.port}: ${conflict}`,
    'choose another `listen` address, or claim other hosts or paths',
  );
}
