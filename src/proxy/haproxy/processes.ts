import { readFile } from 'node:fs/promises';
import { setTimeout as delay } from 'node:timers/promises';
import type { ListenAddress, RoutingTable } from '../port.ts';
import { readCertificate } from './certificates.ts';
import { LIMITS } from './limits.ts';
import { endHaproxy, findHaproxy, isRunning, startHaproxy } from './process.ts';
import {
  certificateFile,
  newId,
  type ProcessFiles,
  type ProcessRecord,
  processFiles,
  readRecords,
  removeFiles,
  type Served,
  writeRecord,
} from './records.ts';
import { Runtime } from './runtime.ts';
import type { Stat } from './stat.ts';

/** The HAProxy processes of one state folder. What is known of one is in its record on disk, and in the process itself. */
export class Processes {
  readonly #folder: string;
  readonly #program: string;
  readonly #expectCommand: () => void;

  constructor(folder: string, program: string, expectCommand: () => void) {
    this.#folder = folder;
    this.#program = program;
    this.#expectCommand = expectCommand;
  }

  files({ id }: Pick<ProcessRecord, 'id'>): ProcessFiles {
    return processFiles(this.#folder, id);
  }

  runtime(record: Pick<ProcessRecord, 'id'>): Runtime {
    return new Runtime(this.files(record).socket, this.#expectCommand);
  }

  /** The processes that run; what is left of the others is removed. */
  async running(): Promise<ProcessRecord[]> {
    const started = (await readRecords(this.#folder)).filter(({ role }) => role !== 'starting');
    for (const record of started) if (!this.#runs(record)) await removeFiles(this.#folder, record.id);
    return started.filter((record) => this.#runs(record));
  }

  async serving(): Promise<ProcessRecord[]> {
    return (await this.running()).filter(({ role }) => role === 'serving');
  }

  /** What each of them counts; those that end meanwhile are left out. */
  async stats(records: ProcessRecord[]): Promise<{ record: ProcessRecord; stat: Stat }[]> {
    const found = await Promise.all(
      records.map(async (record) => {
        const stat = await this.whileRunning(record, () => this.runtime(record).stat());
        return stat && { record, stat };
      }),
    );
    return found.filter((each) => each !== null);
  }

  /** What a process answers; null for one that has ended meanwhile. */
  async whileRunning<T>(record: ProcessRecord, ask: () => Promise<T>): Promise<T | null> {
    try {
      return await ask();
    } catch (error) {
      if (!this.#runs(record)) return null;
      throw error;
    }
  }

  /** Starts a process for these services; the listening socket of `old` is taken over, never closed. */
  async start(
    listen: ListenAddress,
    services: Served[],
    pems: Map<string, string>,
    old: ProcessRecord | undefined,
  ): Promise<ProcessRecord> {
    const record: ProcessRecord = {
      id: newId(services[0]?.table.service ?? ''),
      pid: 0,
      role: 'starting',
      listen,
      since: Date.now(),
      services,
    };
    try {
      // before the process: a controller that is killed in between finds it by its configuration
      await this.write(record, {});
      await startHaproxy({
        program: this.#program,
        listen,
        tables: services.map(({ table }) => table),
        pems,
        files: this.files(record),
        from: old && this.files(old).socket,
        expectCommand: this.#expectCommand,
        onStart: (pid) => this.write(record, { pid }),
      });
      await this.write(record, { role: 'serving' });
      return record;
    } catch (error) {
      this.#expectCommand();
      await removeFiles(this.#folder, record.id);
      throw error;
    }
  }

  /** Checked certificates of these services; those of a process that runs are taken from it where `fresh` is false. */
  async certificates(
    tables: RoutingTable[],
    old: ProcessRecord | undefined,
    fresh: (table: RoutingTable) => boolean,
  ): Promise<Map<string, string>> {
    const pems = new Map<string, string>();
    for (const table of tables.filter(({ traffic }) => traffic.tls !== null)) {
      const file = old && certificateFile(this.files(old), table.service);
      const kept = file && !fresh(table) ? await this.textOf(file) : undefined;
      pems.set(table.service, kept ?? (await readCertificate(table)));
    }
    return pems;
  }

  /** A file of a process, where there is one. */
  async textOf(file: string): Promise<string | undefined> {
    return readFile(file, 'utf8').catch(() => undefined);
  }

  /** No more connections: from now on nobody takes the process for the one that serves. */
  async leave(record: ProcessRecord): Promise<void> {
    await this.write(record, { role: 'leaving' });
    await this.runtime(record).stopListening();
  }

  /**
   * Waits until a process that listens no more has nothing in flight, at the latest until `until()` (as
   * performance.now()), and its clients have gone or were idle for `idleMs`. Returns what it counted last.
   */
  async quiet(record: ProcessRecord, until: () => number, idleMs: () => number): Promise<Stat | undefined> {
    const begun = performance.now();
    let last: Stat | undefined;
    while (performance.now() < until() && this.#runs(record)) {
      last =
        (await this.runtime(record)
          .stat()
          .catch(() => undefined)) ?? last;
      const services = [...(last?.services.values() ?? [])];
      const busy = services.reduce((sum, { inFlight, held }) => sum + inFlight + held, 0);
      const idle = performance.now() >= begun + Math.min(LIMITS.closeIdleAfter, idleMs());
      if (last && busy === 0 && idle && (last.clients === 0 || performance.now() >= begun + idleMs())) break;
      await delay(LIMITS.poll);
    }
    return last;
  }

  async end(record: ProcessRecord): Promise<void> {
    const files = this.files(record);
    const pid = record.pid || (await findHaproxy(files));
    this.#expectCommand();
    if (pid) await endHaproxy(pid, files, this.#expectCommand);
    this.#expectCommand();
    await removeFiles(this.#folder, record.id);
  }

  async records(): Promise<ProcessRecord[]> {
    return readRecords(this.#folder);
  }

  async write(record: ProcessRecord, change: Partial<ProcessRecord>): Promise<void> {
    Object.assign(record, change);
    await writeRecord(this.#folder, record, this.#expectCommand);
  }

  #runs(record: ProcessRecord): boolean {
    return isRunning(record.pid, this.files(record));
  }
}
