import type { RoutingTable } from '../port.ts';
import { ownAnswer } from './figures.ts';
import type { RequestLine } from './lines.ts';
import { serverName, serviceWord } from './names.ts';

/**
 * Takes servers out for a while that failed several requests in a row, but never below the floor. HAProxy tells how
 * requests ended; `changed` brings its weights to what `out` says then.
 */
export class Ejection {
  readonly #tableOf: (service: string) => RoutingTable | undefined;
  readonly #changed: (service: string, server: string | undefined) => void;
  /** failures in a row, by service and server */
  readonly #rows = new Map<string, number>();
  readonly #out = new Map<string, Map<string, NodeJS.Timeout>>();

  /** Services are known by their words. */
  constructor(
    tableOf: (service: string) => RoutingTable | undefined,
    changed: (service: string, ejected: string | undefined) => void,
  ) {
    this.#tableOf = tableOf;
    this.#changed = changed;
  }

  out(service: string): ReadonlySet<string> {
    return new Set(this.#out.get(service)?.keys());
  }

  note(line: RequestLine): void {
    const { backend, server, status } = line;
    if (server.startsWith('<') || /^[CcKk]/.test(line.ended)) return;
    const key = `${backend}/${server}`;
    if (!ownAnswer(line) && !FAILURES.has(status) && !/^[Ss]/.test(line.ended)) {
      this.#rows.delete(key);
      return;
    }
    const row = (this.#rows.get(key) ?? 0) + 1;
    this.#rows.set(key, row);
    const service = serviceWord(backend);
    const table = this.#tableOf(service);
    if (table && row >= table.traffic.eject.failures && this.#mayGo(service, server, table)) {
      this.#rows.delete(key);
      this.#eject(service, server, table.traffic.eject.time);
    }
  }

  /** All are in again, and nothing more is going to change. */
  clear(): void {
    for (const timers of this.#out.values()) for (const timer of timers.values()) clearTimeout(timer);
    this.#out.clear();
    this.#rows.clear();
  }

  #mayGo(service: string, server: string, { routes, traffic }: RoutingTable): boolean {
    const open = routes.filter(({ weight }) => weight > 0).map(serverName);
    const out = this.out(service);
    if (!open.includes(server) || out.has(server)) return false;
    const left = open.filter((name) => !out.has(name)).length - 1;
    return left >= Math.ceil((open.length * traffic.eject.floor) / 100) && left > 0;
  }

  #eject(service: string, server: string, time: number): void {
    const timers = this.#out.get(service) ?? new Map<string, NodeJS.Timeout>();
    this.#out.set(service, timers);
    const timer = setTimeout(() => {
      timers.delete(server);
      this.#changed(service, undefined);
    }, time);
    timer.unref();
    timers.set(server, timer);
    this.#changed(service, server);
  }
}

const FAILURES = new Set([502, 503, 504]);
