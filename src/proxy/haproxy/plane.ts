import { mkdir } from 'node:fs/promises';
import { setTimeout as delay } from 'node:timers/promises';
import { UnideployError } from '../../errors.ts';
import type { Drained, ListenAddress, RoutingTable, TableStatus } from '../port.ts';
import { readTable } from '../table.ts';
import { LIMITS } from './limits.ts';
import { isServerOf, serverName } from './names.ts';
import { endHaproxy, freePort, isRunning, startHaproxy } from './process.ts';
import { newId, type ProcessRecord, processFiles, readRecords, removeFiles, writeRecord } from './records.ts';
import { Runtime } from './runtime.ts';
import { deleteUnused, setServers } from './servers.ts';

/**
 * The services of one state folder, each served by an HAProxy of its own: a new service, or another port, needs no
 * reload of the others. What is known of a process is in its record on disk, and in the process itself.
 */
export class HaproxyPlane {
  readonly #folder: string;
  readonly #program: string;
  /** tables of one service are applied one after another */
  readonly #turns = new Map<string, Promise<unknown>>();
  /** services whose unused servers are being deleted */
  readonly #tidying = new Set<string>();
  #adopted: Promise<void> | undefined;

  constructor(folder: string, program: string) {
    this.#folder = folder;
    this.#program = program;
  }

  /** See `DataPlane.apply`. */
  async apply(value: RoutingTable): Promise<TableStatus> {
    await this.#adopt();
    return this.#inTurn(value.service, async () => {
      const table = readTable(value.service, value);
      const current = await this.#serving(table.service);
      if (current === undefined) return this.#status(await this.#open(table));
      if (table.version <= current.table.version) throw notNewer(table, current.table.version);
      if (serves(current, table.listen)) return this.#status(await this.#update(current, table));
      const next = await this.#open(table);
      // requests that wait there find their instances there
      await setServers(this.#runtime(current), table);
      const leaving = await this.#leave(current);
      void this.#finish(leaving, LIMITS.softClose).catch(() => undefined);
      return this.#status(next);
    });
  }

  /** See `DataPlane.remove`. */
  async remove(service: string, graceMs: number): Promise<void> {
    await this.#adopt();
    const leaving = await this.#inTurn(service, async () => {
      const current = await this.#serving(service);
      if (current) await this.#runtime(current).setClosed(true);
      return current && (await this.#leave(current));
    });
    if (leaving) await this.#finish(leaving, graceMs);
  }

  /** See `DataPlane.status`. A service whose process has died is not among them: whoever knows its table applies it again. */
  async status(): Promise<TableStatus[]> {
    await this.#adopt();
    const records = await this.#running();
    const serving = records.filter(({ role }) => role === 'serving');
    const found = await Promise.all(
      serving.map((record) => this.#whileRunning(record, () => this.#status(record))),
    );
    return found.filter((status) => status !== null);
  }

  /** See `DataPlane.drained`. */
  async drained(service: string, instance: string, deadlineMs: number): Promise<Drained> {
    await this.#adopt();
    const left = await this.#idle(service, instance, deadlineMs);
    if (left.length === 0) {
      await this.#inTurn(service, () => this.#closeIdle(service, instance));
      return { cut: 0, websockets: 0, streams: 0 };
    }
    for (const { runtime, name } of left) await runtime.cut(name);
    await this.#idle(service, instance, LIMITS.cut);
    return { cut: left.reduce((sum, { inFlight }) => sum + inFlight, 0), websockets: 0, streams: 0 };
  }

  /** See `DataPlane.stop`. */
  async stop(): Promise<void> {
    await this.#adopt();
    const services = new Set((await this.#running()).map(({ table }) => table.service));
    await Promise.all([...services].map((service) => this.remove(service, LIMITS.softClose)));
    // those that were leaving already
    await Promise.all((await this.#running()).map((record) => this.#finish(record, LIMITS.softClose)));
  }

  /** Takes up what a controller left that was killed: half-started processes end, those that were leaving go on to. */
  #adopt(): Promise<void> {
    this.#adopted ??= (async () => {
      await mkdir(this.#folder, { recursive: true, mode: 0o700 });
      for (const record of await readRecords(this.#folder)) {
        if (record.role === 'starting') await this.#end(record);
        else if (record.role === 'leaving')
          void this.#finish(record, LIMITS.softClose).catch(() => undefined);
        else this.#tidy(record.table.service);
      }
    })();
    return this.#adopted;
  }

  async #open(table: RoutingTable): Promise<ProcessRecord> {
    const listen = { host: table.listen.host, port: await freePort(table.listen) };
    const record: ProcessRecord = {
      id: newId(table.service),
      pid: 0,
      role: 'starting',
      asked: table.listen,
      table: { ...table, listen },
    };
    const files = processFiles(this.#folder, record.id);
    try {
      await startHaproxy(this.#program, record.table, files, (pid) => this.#write(record, { pid }));
      await this.#write(record, { role: 'serving' });
      return record;
    } catch (error) {
      await removeFiles(this.#folder, record.id);
      throw error;
    }
  }

  async #update(record: ProcessRecord, table: RoutingTable): Promise<ProcessRecord> {
    await setServers(this.#runtime(record), table);
    await this.#write(record, { table: { ...table, listen: record.table.listen }, asked: table.listen });
    this.#tidy(table.service);
    return record;
  }

  /** No more connections: from now on nobody takes the process for the one that serves. */
  async #leave(record: ProcessRecord): Promise<ProcessRecord> {
    await this.#write(record, { role: 'leaving' });
    await this.#runtime(record).stopListening();
    return record;
  }

  /** Ends a process that listens no more when its last request has ended, at the latest after `graceMs`. */
  async #finish(record: ProcessRecord, graceMs: number): Promise<void> {
    const begun = Date.now();
    const files = processFiles(this.#folder, record.id);
    const idleFrom = begun + Math.min(graceMs, LIMITS.closeIdleAfter);
    while (Date.now() < begun + graceMs && isRunning(record.pid, files)) {
      const figures = await this.#runtime(record)
        .figures()
        .catch(() => undefined);
      if (figures && figures.inFlight + figures.held === 0 && Date.now() >= idleFrom) break;
      await delay(LIMITS.poll);
    }
    await this.#end(record);
  }

  async #end(record: ProcessRecord): Promise<void> {
    await endHaproxy(record.pid, processFiles(this.#folder, record.id));
    await removeFiles(this.#folder, record.id);
  }

  /** Waits until the instance has nothing in flight; returns what is left when the time is over. */
  async #idle(service: string, instance: string, withinMs: number) {
    const end = Date.now() + withinMs;
    for (;;) {
      const left = (await this.#serversOf(service, instance)).filter(({ inFlight }) => inFlight > 0);
      if (left.length === 0 || Date.now() >= end) return left;
      await delay(Math.min(LIMITS.poll, end - Date.now()));
    }
  }

  /** The instance's servers, also where the service was served before. */
  async #serversOf(service: string, instance: string) {
    const records = (await this.#running()).filter(({ table }) => table.service === service);
    const found = await Promise.all(
      records.map(async (record) => {
        const runtime = this.#runtime(record);
        const figures = await this.#whileRunning(record, () => runtime.figures());
        return (figures?.servers ?? [])
          .filter(({ name }) => isServerOf(instance, name))
          .map(({ name, inFlight }) => ({ runtime, name, inFlight }));
      }),
    );
    return found.flat();
  }

  /** An instance that takes no requests keeps no connection: maintenance closes them, and its share stays 0. */
  async #closeIdle(service: string, instance: string): Promise<void> {
    const record = await this.#serving(service);
    const route = record?.table.routes.find((each) => each.instance === instance);
    if (!record || !route || (route.weight > 0 && !record.table.hold)) return;
    await this.#runtime(record).setState(serverName(route), 'maint');
    await this.#runtime(record).setState(serverName(route), 'ready');
  }

  /** Deletes servers without a route, for as long as there are some; what they have in flight comes first. */
  #tidy(service: string): void {
    if (this.#tidying.has(service)) return;
    this.#tidying.add(service);
    const once = async () => {
      const record = await this.#serving(service);
      return record !== undefined && (await deleteUnused(this.#runtime(record), record.table));
    };
    const all = async () => {
      while (await this.#inTurn(service, once)) await delay(LIMITS.poll, undefined, { ref: false });
    };
    // a process that does not answer is somebody else's trouble: the next table tidies again
    void all()
      .catch(() => undefined)
      .finally(() => this.#tidying.delete(service));
  }

  async #serving(service: string): Promise<ProcessRecord | undefined> {
    return (await this.#running()).find(({ role, table }) => role === 'serving' && table.service === service);
  }

  /** The processes that run; what is left of the others is removed. */
  async #running(): Promise<ProcessRecord[]> {
    const started = (await readRecords(this.#folder)).filter(({ role }) => role !== 'starting');
    const running = (record: ProcessRecord) => isRunning(record.pid, processFiles(this.#folder, record.id));
    for (const record of started) if (!running(record)) await removeFiles(this.#folder, record.id);
    return started.filter(running);
  }

  /** What a process answers; null for one that has ended meanwhile. */
  async #whileRunning<T>(record: ProcessRecord, ask: () => Promise<T>): Promise<T | null> {
    try {
      return await ask();
    } catch (error) {
      if (!isRunning(record.pid, processFiles(this.#folder, record.id))) return null;
      throw error;
    }
  }

  async #status({ id, table }: ProcessRecord): Promise<TableStatus> {
    const figures = await this.#runtime({ id }).figures();
    const inFlight = new Map(figures.servers.map((server) => [server.name, server.inFlight]));
    return {
      ...table,
      held: figures.held,
      requests: figures.requests,
      failures: figures.failures,
      refused: {},
      holds: 0,
      drains: 0,
      routes: table.routes.map((route) => ({
        ...route,
        inFlight: inFlight.get(serverName(route)) ?? 0,
        usable: true,
      })),
    };
  }

  #runtime({ id }: Pick<ProcessRecord, 'id'>): Runtime {
    return new Runtime(processFiles(this.#folder, id).socket);
  }

  async #write(record: ProcessRecord, change: Partial<ProcessRecord>): Promise<void> {
    Object.assign(record, change);
    await writeRecord(this.#folder, record);
  }

  #inTurn<T>(service: string, work: () => Promise<T>): Promise<T> {
    const turn = (this.#turns.get(service) ?? Promise.resolve()).then(work, work);
    this.#turns.set(
      service,
      turn.catch(() => undefined),
    );
    return turn;
  }
}

/** Whether a table that asks for this address is served there already. */
function serves({ asked, table }: ProcessRecord, { host, port }: ListenAddress): boolean {
  return host === asked.host && (port === asked.port || port === table.listen.port);
}

function notNewer(table: RoutingTable, current: number): UnideployError {
  return new UnideployError(
    'UD_TABLE_REFUSED',
    `version ${table.version} of the routing table of ${table.service} is not newer than ${current}, which is in force`,
    'another controller may be at work: ask for the status, and go on from its version',
  );
}
