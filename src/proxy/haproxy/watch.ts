import { dirname, join } from 'node:path';
import type { Figures, RoutingTable } from '../port.ts';
import { Ejection } from './ejection.ts';
import { Counted } from './figures.ts';
import { type RequestLine, readLines } from './lines.ts';
import { LogFile } from './log.ts';
import { readServerName, word } from './names.ts';
import { linesPipe, type ProcessRecord } from './records.ts';
import type { Stat } from './stat.ts';

/** What this controller learns from the lines that HAProxy writes of its requests: figures, ejections, the access log. */
export class Watch {
  readonly #folder: string;
  readonly #tables = new Map<string, RoutingTable>();
  readonly #counted = new Counted();
  readonly #ejection: Ejection;
  readonly #access: LogFile;
  readonly #log: LogFile;
  #lines: { close(): void } | undefined;

  /** `changed`: the ejected servers of a service are others now. */
  constructor(folder: string, changed: (service: string) => void) {
    this.#folder = folder;
    this.#access = new LogFile(join(dirname(folder), 'access.log'));
    this.#log = new LogFile(join(dirname(folder), 'proxy.log'));
    this.#ejection = new Ejection(
      (name) => this.#tables.get(name),
      (name, ejected) => {
        const table = this.#tables.get(name);
        if (!table) return;
        if (ejected !== undefined) {
          this.#counted.ejected(`${name}:`, ejected);
          this.say('warn', 'an instance was ejected', { service: table.service, ...readServerName(ejected) });
        }
        changed(table.service);
      },
    );
  }

  async begin(): Promise<void> {
    this.#lines ??= await readLines(linesPipe(this.#folder), {
      request: (line) => this.#request(line),
      down: (backend, server) => this.#counted.ejected(backend, server),
    });
  }

  async end(): Promise<void> {
    this.#ejection.clear();
    this.#lines?.close();
    this.#lines = undefined;
    await Promise.all([this.#access.flushed(), this.#log.flushed()]);
  }

  serves(table: RoutingTable): void {
    this.#tables.set(word(table.service), table);
  }

  forget(service: string): void {
    this.#tables.delete(word(service));
    this.#counted.forget(word(service));
  }

  /** The servers of a service that are ejected now. */
  out(service: string): ReadonlySet<string> {
    return this.#ejection.out(word(service));
  }

  see(record: ProcessRecord, stat: Stat): void {
    this.#counted.see(record.id, stat);
  }

  figures(service: string): Figures[] {
    return this.#counted.of(word(service));
  }

  refused(service: string): Record<string, number> {
    return this.#counted.refused(word(service));
  }

  /** A line in DIR/proxy.log. */
  say(level: 'info' | 'warn' | 'error', message: string, fields: Record<string, unknown>): void {
    this.#log.add(JSON.stringify({ time: new Date().toISOString(), level, message, ...fields }));
  }

  #request(line: RequestLine): void {
    this.#counted.add(line);
    this.#ejection.note(line);
    if (line.access === undefined) return;
    const time = new Date(line.at).toISOString();
    const { instance, revision } = readServerName(line.server);
    const { status, received, sent, retries } = line;
    const whose = line.server.startsWith('<')
      ? { attempts: 0 }
      : { instance, revision, attempts: retries + 1 };
    const end = line.ended.startsWith('-') ? {} : { end: line.ended.slice(0, 2) };
    const rest = JSON.stringify({
      status: Math.max(0, status),
      received,
      sent,
      ...whose,
      ...end,
      ms: line.took,
    });
    this.#access.add(`{"time":"${time}",${line.access.slice(1, -1)},${rest.slice(1)}`);
  }
}
