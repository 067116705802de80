import { mkdir, rm, writeFile } from 'node:fs/promises';
import { setTimeout as delay } from 'node:timers/promises';
import { UnideployError } from '../../errors.ts';
import type { Drained, Figures, ListenAddress, RoutingTable, TableStatus } from '../port.ts';
import { readTable } from '../table.ts';
import { readCertificate, stampOf } from './certificates.ts';
import { conflictOf } from './claims.ts';
import { haproxyConfig } from './config.ts';
import { type Busy, drain } from './drain.ts';
import { LIMITS } from './limits.ts';
import { readServerName, serviceWord, word } from './names.ts';
import { freePort } from './process.ts';
import { Processes } from './processes.ts';
import { certificateFile, linesSocket, type ProcessRecord, type Served } from './records.ts';
import { deleteUnused, setServers } from './servers.ts';
import { statusOf } from './status.ts';
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
  #turn: Promise<unknown> = Promise.resolve();
  /** services whose unused servers are being deleted */
  readonly #tidying = new Set<string>();
  /** until when those that are leaving may go on, where that is bounded */
  readonly #until = new Map<string, number>();
  readonly #finishing = new Map<string, Promise<void>>();
  /** of the certificate files that were read last, by the service */
  readonly #stamps = new Map<string, string>();
  #certificates: NodeJS.Timeout | undefined;
  #adopted: Promise<void> | undefined;

  constructor(folder: string, program: string) {
    this.#folder = folder;
    this.#processes = new Processes(folder, program);
    this.#watch = new Watch(folder, (service) => void this.#rebalance(service).catch(() => undefined));
  }

  /** See `DataPlane.apply`. */
  async apply(value: RoutingTable): Promise<TableStatus> {
    await this.#adopt();
    await this.#inTurn(() => this.#apply(readTable(value.service, value)));
    const status = (await this.status()).find(({ service }) => service === value.service);
    if (status) return status;
    throw new UnideployError('UD_PROXY_FAILED', `HAProxy has ended`, 'the table is applied again');
  }

  /** See `DataPlane.remove`. */
  async remove(service: string, graceMs: number): Promise<void> {
    await this.#adopt();
    const until = Date.now() + graceMs;
    await this.#inTurn(async () => {
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
          ? drain(() => this.#busy(service, undefined), { websocket: graceMs, events: graceMs }, graceMs)
          : this.#finish(record, until),
      ),
    );
    this.#watch.forget(service);
    this.#stamps.delete(service);
  }

  /** See `DataPlane.status`. A service whose process has died is not among them: whoever knows its table applies it again. */
  async status(): Promise<TableStatus[]> {
    await this.#adopt();
    // in turn: what an ended process counted is always counted once
    const stats = await this.#inTurn(async () => this.#processes.stats(await this.#processes.running()));
    return stats
      .filter(({ record }) => record.role === 'serving')
      .flatMap(({ record }) =>
        record.services.map((served) => statusOf(served, stats, this.#watch.out(served.table.service))),
      );
  }

  /** See `DataPlane.drained`. */
  async drained(service: string, instance: string, deadlineMs: number): Promise<Drained> {
    await this.#adopt();
    const served = (await this.#processes.running()).flatMap((record) => servedBy(record, service) ?? []);
    const grace = served.at(-1)?.table.traffic.drain ?? { websocket: 0, events: 0 };
    const drained = await drain(() => this.#busy(service, instance), grace, deadlineMs);
    if (drained.cut === 0) await this.#inTurn(() => this.#closeIdle(service, instance));
    return drained;
  }

  /** See `DataPlane.figures`. */
  async figures(service: string): Promise<Figures[]> {
    await this.#adopt();
    for (const { record, stat } of await this.#processes.stats(await this.#processes.running()))
      this.#watch.see(record, stat);
    return this.#watch.figures(service);
  }

  /** See `DataPlane.upgrade`. */
  async upgrade(): Promise<void> {
    await this.#adopt();
    await this.#inTurn(async () => {
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
    clearInterval(this.#certificates);
    await this.#watch.end();
    await rm(linesSocket(this.#folder), { force: true });
    this.#adopted = undefined;
  }

  /** Takes up what a controller left that was killed: half-started processes end, those that were leaving go on to. */
  #adopt(): Promise<void> {
    this.#adopted ??= this.#inTurn(async () => {
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
        if (record.role === 'leaving') void this.#finish(record).catch(() => undefined);
        else for (const { table } of record.services) await this.#adoptService(record, table);
        seen.add(address);
      }
      this.#certificates = setInterval(
        () => void this.#renewCertificates().catch(() => undefined),
        LIMITS.certificates,
      ).unref();
    });
    return this.#adopted;
  }

  async #adoptService(record: ProcessRecord, table: RoutingTable): Promise<void> {
    this.#watch.serves(table);
    // servers that were ejected are in again
    await setServers(this.#processes.files(record), table, NONE).catch(() => undefined);
    this.#tidy(table.service);
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
      before: before?.before ?? { requests: 0, failures: 0 },
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
    this.#tidy(table.service);
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
    await setServers(this.#processes.files(record), table, this.#watch.out(table.service));
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
        await setServers(this.#processes.files(record), table, this.#watch.out(table.service));
    if (!old) return;
    await this.#processes.leave(old);
    void this.#finish(old).catch(() => undefined);
  }

  /** Takes a service away from a process; one that has no other leaves. */
  async #without(record: ProcessRecord, service: string, graceMs?: number): Promise<void> {
    const rest = record.services.filter(({ table }) => table.service !== service);
    if (rest.length > 0) return this.#replace(record, record.listen, rest, () => false);
    await this.#processes.leave(record);
    if (graceMs !== undefined) void this.#finish(record, Date.now() + graceMs).catch(() => undefined);
  }

  /** Requests that wait in a process that is leaving find their instances there. */
  async #tellLeaving(table: RoutingTable): Promise<void> {
    for (const record of await this.#processes.running())
      if (record.role === 'leaving' && servedBy(record, table.service))
        await setServers(this.#processes.files(record), table, this.#watch.out(table.service)).catch(
          () => undefined,
        );
  }

  /** The ejected servers are others than before. */
  async #rebalance(service: string): Promise<void> {
    await this.#inTurn(async () => {
      for (const record of await this.#processes.running()) {
        const served = servedBy(record, service);
        if (served) await setServers(this.#processes.files(record), served.table, this.#watch.out(service));
      }
    });
  }

  /** Ends a process that listens no more when its last request has ended, at the latest at `until`; called again, sooner. */
  #finish(record: ProcessRecord, until?: number): Promise<void> {
    if (until !== undefined) this.#until.set(record.id, Math.min(until, this.#until.get(record.id) ?? until));
    const running = this.#finishing.get(record.id);
    if (running) return running;
    const bounded = () => this.#until.get(record.id);
    const begun = Date.now();
    const finishing = (async () => {
      const last = await this.#processes.quiet(
        record,
        () => bounded() ?? Number.POSITIVE_INFINITY,
        () =>
          bounded() === undefined
            ? LIMITS.softClose
            : Math.min(LIMITS.closeIdleAfter, (bounded() ?? 0) - begun),
      );
      await this.#inTurn(async () => {
        await this.#processes.end(record);
        if (last) this.#watch.see(record, last);
        for (const serving of await this.#processes.serving()) {
          for (const served of serving.services) {
            const counted = last?.services.get(word(served.table.service));
            served.before.requests += counted?.requests ?? 0;
            served.before.failures += counted?.failures ?? 0;
          }
          await this.#processes.write(serving, {});
        }
      });
    })().finally(() => {
      this.#finishing.delete(record.id);
      this.#until.delete(record.id);
    });
    this.#finishing.set(record.id, finishing);
    return finishing;
  }

  /** The instance's servers (all of the service's without one) that have something in flight, in every process. */
  async #busy(service: string, instance: string | undefined): Promise<Busy[]> {
    const records = (await this.#processes.running()).filter((record) => servedBy(record, service));
    return (await this.#processes.stats(records)).flatMap(({ record, stat }) => {
      const runtime = this.#processes.runtime(record);
      return stat.servers
        .filter(({ backend, name, inFlight }) => {
          const own = serviceWord(backend) === word(service) && inFlight > 0;
          return own && (instance === undefined || readServerName(name).instance === instance);
        })
        .map(({ backend, name, inFlight }) => ({ runtime, backend, name, inFlight }));
    });
  }

  /** An instance that takes no requests keeps no connection: maintenance closes them, and its share stays 0. */
  async #closeIdle(service: string, instance: string): Promise<void> {
    const records = (await this.#processes.running()).filter((record) => servedBy(record, service));
    for (const { record, stat } of await this.#processes.stats(records)) {
      const runtime = this.#processes.runtime(record);
      for (const { backend, name, weight, status } of stat.servers) {
        if (serviceWord(backend) !== word(service) || readServerName(name).instance !== instance) continue;
        if (weight > 0 || status.startsWith('MAINT')) continue;
        await runtime.setState(backend, [name], 'maint');
        await runtime.setState(backend, [name], 'ready');
      }
    }
  }

  /** Certificate files that have changed are taken over; bad ones are told of, and the old one stays. */
  async #renewCertificates(): Promise<void> {
    const records = await this.#processes.running();
    const tables = records.flatMap(({ role, services }) =>
      role === 'serving' ? services.map(({ table }) => table) : [],
    );
    for (const table of tables) {
      const { service } = table;
      const stamp = await stampOf(table);
      if (stamp === (this.#stamps.get(service) ?? '')) continue;
      this.#stamps.set(service, stamp);
      try {
        const pem = await readCertificate(table);
        await this.#inTurn(async () => {
          for (const record of (await this.#processes.running()).filter((each) => servedBy(each, service))) {
            const file = certificateFile(this.#processes.files(record), service);
            await this.#processes.runtime(record).setCertificate(file, pem);
            await writeFile(file, pem, { mode: 0o600 });
          }
        });
        this.#watch.say('info', 'a certificate was read', { service });
      } catch (error) {
        this.#watch.say('error', (error as Error).message, { service });
      }
    }
  }

  /** Deletes servers without a route, for as long as there are some; what they have in flight comes first. */
  #tidy(service: string): void {
    if (this.#tidying.has(service)) return;
    this.#tidying.add(service);
    const once = async () => {
      const record = (await this.#processes.serving()).find((each) => servedBy(each, service));
      const served = record && servedBy(record, service);
      return (
        record !== undefined &&
        served !== undefined &&
        (await deleteUnused(this.#processes.runtime(record), served.table))
      );
    };
    const all = async () => {
      while (await this.#inTurn(once)) await delay(LIMITS.poll, undefined, { ref: false });
    };
    // a process that does not answer is somebody else's trouble: the next table tidies again
    void all()
      .catch(() => undefined)
      .finally(() => this.#tidying.delete(service));
  }

  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const turn = this.#turn.then(work, work);
    this.#turn = turn.catch(() => undefined);
    return turn;
  }
}

const NONE: ReadonlySet<string> = new Set();

function servedBy({ services }: ProcessRecord, service: string): Served | undefined {
  return services.find(({ table }) => table.service === service);
}

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
