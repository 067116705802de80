import { type Figures, LATENCY_BOUNDS } from '../port.ts';
import type { RequestLine } from './lines.ts';
import { readServerName, serviceWord } from './names.ts';
import type { Stat } from './stat.ts';

/** What was counted by instance and revision, since this controller began to listen. */
export class Counted {
  /** by the services' words and the instances with their revisions */
  readonly #figures = new Map<string, Map<string, Figures>>();
  /** the last that each server of each process said of its retries: they go with the server */
  readonly #retries = new Map<string, { service: string; server: string; times: number }>();

  /** answers of HAProxy's own, by the service's word and their reason; those of the hold are counted there */
  readonly #refused = new Map<string, Record<string, number>>();

  add(line: RequestLine): void {
    const reason = REASONS[line.status];
    if (reason !== undefined && ownAnswer(line) && !(line.status === 503 && line.server.startsWith('<'))) {
      const service = serviceWord(line.backend);
      const refused = this.#refused.get(service) ?? {};
      this.#refused.set(service, { ...refused, [reason]: (refused[reason] ?? 0) + 1 });
    }
    if (line.server.startsWith('<')) return;
    const figures = this.#of(serviceWord(line.backend), line.server);
    if (ownAnswer(line) || /^[Ss]/.test(line.ended)) figures.broken++;
    // neither are those that the client broke off
    if (!line.ended.startsWith('-') || line.took < 0) return;
    if (line.status >= 100) figures.status[`${Math.floor(line.status / 100)}xx` as '2xx']++;
    const seconds = line.took / 1000;
    figures.latency.sum += seconds;
    const bucket = LATENCY_BOUNDS.findIndex((bound) => seconds <= bound);
    const at = bucket === -1 ? LATENCY_BOUNDS.length : bucket;
    figures.latency.buckets[at] = (figures.latency.buckets[at] ?? 0) + 1;
  }

  ejected(backend: string, server: string): void {
    this.#of(serviceWord(backend), server).ejections++;
  }

  /** Takes over what the servers of a process count themselves. */
  see(process: string, { servers }: Stat): void {
    for (const { backend, name, retries } of servers)
      if (retries > 0)
        this.#retries.set(`${process} ${backend}/${name}`, {
          service: serviceWord(backend),
          server: name,
          times: retries,
        });
  }

  /** By the service's word. */
  of(service: string): Figures[] {
    const all = [...(this.#figures.get(service)?.values() ?? [])].map((each) => ({ ...each, retries: 0 }));
    for (const { service: whose, server, times } of this.#retries.values()) {
      const { instance, revision } = readServerName(server);
      const figures = all.find((each) => each.instance === instance && each.revision === revision);
      if (whose === service && figures) figures.retries += times;
    }
    return all;
  }

  refused(service: string): Record<string, number> {
    return this.#refused.get(service) ?? {};
  }

  forget(service: string): void {
    this.#refused.delete(service);
    this.#figures.delete(service);
    for (const [key, { service: whose }] of this.#retries) if (whose === service) this.#retries.delete(key);
  }

  #of(service: string, server: string): Figures {
    const { instance, revision } = readServerName(server);
    const own = this.#figures.get(service) ?? new Map<string, Figures>();
    this.#figures.set(service, own);
    const key = `${revision} ${instance}`;
    const figures = own.get(key) ?? {
      instance,
      revision,
      status: { '1xx': 0, '2xx': 0, '3xx': 0, '4xx': 0, '5xx': 0 },
      broken: 0,
      latency: { sum: 0, buckets: new Array<number>(LATENCY_BOUNDS.length + 1).fill(0) },
      retries: 0,
      ejections: 0,
    };
    own.set(key, figures);
    return figures;
  }
}

/** Whether the answer was HAProxy's, in the place of the instance's. */
export function ownAnswer({ ended }: RequestLine): boolean {
  // ended by the server's side, before the data of an answer
  return /^[Ss][CHQ]|^[PRIK][CHQ]/.test(ended);
}

const REASONS: Record<number, string> = {
  400: 'bad-request',
  405: 'method',
  408: 'bad-request',
  413: 'too-large',
  431: 'bad-request',
  502: 'upstream',
  503: 'no-instance',
  504: 'response-timeout',
};
