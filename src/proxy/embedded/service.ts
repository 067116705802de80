import { setTimeout } from 'node:timers/promises';
import { DEFAULT_TRAFFIC, type TrafficPolicy } from '../../domain/traffic.ts';
import type { Drained, Figures, RoutingTable, TableStatus } from '../port.ts';
import type { Access } from './access-log.ts';
import { Balancer } from './balance/balancer.ts';
import { Ejection, type Failure } from './balance/ejection.ts';
import { parseSticky, Sticky, stickyHeader, withoutSticky } from './balance/sticky.ts';
import type { RequestHead } from './headers.ts';
import { Hold, type Waiting } from './hold.ts';
import type { Instance } from './instance.ts';
import { Instances } from './instances.ts';
import { LIMITS } from './limits.ts';
import { isForPage } from './page.ts';
import type { Refusal } from './refusal.ts';

/** A request, or a connection, on its way to an instance. */
export interface Routed extends Waiting {
  /** undefined: a connection of which nothing is known */
  readonly head: RequestHead | undefined;
  /** instances that were tried already; emptied by the hold, after which they may be good again */
  tried: Instance[];
  send(instance: Instance): void;
}

/** One service: its table, who waits for it, and which instance is next. */
export class Service {
  readonly name: string;
  readonly hold = new Hold(LIMITS.releaseBatch);
  /** set while the policy asks for an access log */
  log: ((access: Access) => void) | undefined;
  requests = 0;
  /** answered with an error of our own, by its reason */
  readonly refusals: Record<string, number> = {};
  failures = 0;
  #table: RoutingTable;
  readonly instances = new Instances((instance) => this.#ejection.ejections(instance));
  readonly #ejection = new Ejection<Instance>(DEFAULT_TRAFFIC.eject);
  #balancer: Balancer<Instance> = new Balancer<Instance>([], DEFAULT_TRAFFIC);
  #sticky: Sticky<Instance> | undefined;
  /** takes the requests of a preview, where there is one */
  #previewed: Instance[] = [];
  #routed: Instance[] = [];
  #ended = false;
  readonly #writeLog: (service: string, access: Access) => void;

  /** `writeLog` takes what the policy wants to have logged. */
  constructor(table: RoutingTable, writeLog: (service: string, access: Access) => void) {
    this.name = table.service;
    this.#table = { ...table, routes: [] };
    this.#writeLog = writeLog;
  }

  get table(): RoutingTable {
    return this.#table;
  }

  get policy(): TrafficPolicy {
    return this.#table.traffic;
  }

  /** Takes a table over, from one request to the next. */
  apply(table: RoutingTable): void {
    const { traffic, routes, preview } = table;
    this.#table = table;
    this.#routed = this.instances.apply(routes);
    const now = performance.now();
    for (const instance of this.#routed)
      instance.closedSince = table.hold || instance.weight === 0 ? (instance.closedSince ?? now) : null;
    this.#ejection.apply(traffic.eject, this.#routed);
    this.#balancer = new Balancer(this.#routed, traffic, this.#balancer);
    this.#sticky = traffic.sticky ? new Sticky(this.#routed, this.#balancer) : undefined;
    this.#previewed =
      traffic.preview === null ? [] : this.#routed.filter(({ revision }) => revision === preview);
    this.log = traffic.accessLog ? (access) => this.#writeLog(this.name, access) : undefined;
    if (this.#closed()) this.hold.refuseAll(this.#noInstance());
    else if (this.#holds()) this.hold.keep();
    else this.hold.release();
  }

  /** Gives a request to an instance, to the hold, or its refusal. */
  route(request: Routed): void {
    if (this.#preview(request)) this.proceed(request);
    else if (this.#closed()) request.refuse(this.#noInstance());
    else if (!this.#mustWait(request) || this.#leftFor(request)) this.proceed(request);
    else this.#wait(request);
  }

  /** The same for a request whose turn has come. */
  proceed(request: Routed): void {
    const instance = this.#choose(request);
    if (instance) request.send(instance);
    else request.refuse({ status: 502, reason: 'no-instance', message: 'no instance could be reached' });
  }

  /** Whether the request asks for the health of a service that holds, which the data plane answers itself. */
  answersHealth({ path }: RequestHead): boolean {
    return path === this.policy.hold.health && this.#holds() && !this.#closed();
  }

  /** A request was answered at once, without anybody's being asked. */
  answered({ id, method, host, path }: RequestHead, { status }: Refusal, sent: number): void {
    const nobody = { instance: undefined, revision: undefined, attempts: 0, end: undefined };
    this.log?.({ id, method, host, path, status, seconds: 0, received: 0, sent, ...nobody });
  }

  /** The question as it goes to an instance; `last`: on a connection that is not used again. */
  requestText(head: RequestHead, last: boolean): string {
    const { method, path, length, lines } = head;
    let text = `${method} ${path} HTTP/1.1\r\n${lines}`;
    const { sticky } = this.policy;
    const cookie =
      head.cookie !== undefined && sticky ? withoutSticky(head.cookie, sticky.cookie) : head.cookie;
    if (cookie !== undefined) text += `Cookie: ${cookie}\r\n`;
    if (length === null) text += 'Transfer-Encoding: chunked\r\n';
    else if (length !== undefined) text += `Content-Length: ${length}\r\n`;
    return last ? `${text}Connection: close\r\n\r\n` : `${text}\r\n`;
  }

  /** `Set-Cookie` for a client that is to stay with an instance it was not with before. */
  cookieFor({ head }: Routed, instance: Instance): string | undefined {
    const { sticky, tls } = this.policy;
    if (!sticky || !this.#sticky) return undefined;
    const value = this.#sticky.valueOf(instance);
    if (value === undefined || parseSticky(head?.cookie, sticky.cookie)?.value === value) return undefined;
    return stickyHeader(sticky.cookie, value, tls !== null);
  }

  succeeded(instance: Instance | undefined): void {
    if (instance) this.#ejection.succeeded(instance);
  }

  failed(instance: Instance | undefined, failure: Failure): void {
    if (instance) this.#ejection.failed(instance, failure, performance.now());
  }

  /** What active checks have found. */
  verdict(name: string, healthy: boolean): void {
    for (const instance of this.#routed)
      if (instance.name === name) this.#ejection.verdict(instance, healthy);
  }

  /** An answer of our own was given. */
  refused(reason: string): void {
    this.failures++;
    this.refusals[reason] = (this.refusals[reason] ?? 0) + 1;
  }

  /** An answer broke. */
  broke(): void {
    this.failures++;
  }

  /** An instance that is the last of its revision first answers what the pages of it ask for. */
  async drained(name: string, deadlineMs: number, signal?: AbortSignal): Promise<Drained> {
    const pages = Math.min(this.#pagesEndIn(name), deadlineMs);
    if (pages > 0) await setTimeout(pages, undefined, { signal }).catch(() => {});
    return await this.instances.drained(name, this.policy.drain, deadlineMs - pages, signal);
  }

  /** Looks after deadlines; `now` as performance.now(). */
  check(now: number): void {
    this.instances.check(now);
  }

  figures(): Figures[] {
    return this.instances.figures();
  }

  /** Resolves when no instance has anything in flight, at the latest after `graceMs`. */
  async ended(graceMs: number): Promise<void> {
    await this.instances.idle(this.policy.drain, graceMs);
  }

  /** No more requests: those that wait are refused. */
  end(): void {
    this.#ended = true;
    this.hold.refuseAll(this.#noInstance());
  }

  /** Cuts everything and closes every connection. */
  close(): void {
    this.instances.close();
  }

  status(listen: RoutingTable['listen']): TableStatus {
    const now = performance.now();
    return {
      ...this.#table,
      listen,
      held: this.hold.size,
      requests: this.requests,
      failures: this.failures,
      refused: this.refusals,
      holds: this.hold.total,
      // the primary counts them, once for all workers
      drains: 0,
      routes: this.#table.routes.map((route, i) => {
        const instance = this.#routed[i];
        return {
          ...route,
          inFlight: instance?.inFlight.size ?? 0,
          usable: instance !== undefined && !this.#ejection.out(instance, now),
        };
      }),
    };
  }

  #choose(request: Routed): Instance | undefined {
    const now = performance.now();
    const usable = (instance: Instance) => !this.#ejection.out(instance, now);
    if (this.#preview(request)) {
      const left = this.#previewed.filter((instance) => !request.tried.includes(instance));
      return leastBusy(left.filter(usable)) ?? leastBusy(left);
    }
    const { sticky } = this.policy;
    const cookie = sticky && this.#sticky ? parseSticky(request.head?.cookie, sticky.cookie) : undefined;
    const known = cookie && this.#sticky?.choose(cookie, usable, request.tried);
    return known ?? this.#leftFor(request) ?? this.#balancer.choose(usable, request.tried);
  }

  /** The instance that answers a page of a revision which takes no new pages: one of that revision, for a while. */
  #leftFor({ head, tried }: Routed): Instance | undefined {
    const { sticky } = this.policy;
    if (!sticky || sticky.pages === 0 || !head || !isForPage(head)) return undefined;
    const cookie = parseSticky(head.cookie, sticky.cookie);
    if (cookie === undefined) return undefined;
    const now = performance.now();
    const left = this.#routed.filter(
      (each) => each.revision === cookie.revision && this.#answersPages(each, now) && !tried.includes(each),
    );
    return left.find((each) => this.#sticky?.valueOf(each) === cookie.value) ?? leastBusy(left);
  }

  #answersPages({ closedSince }: Instance, now: number): boolean {
    return closedSince !== null && now < closedSince + (this.policy.sticky?.pages ?? 0);
  }

  /** How long, ms, until nothing more is asked for by pages of a revision that has no other instance than closed ones. */
  #pagesEndIn(name: string): number {
    const instance = this.#routed.find((each) => each.name === name);
    if (!instance || instance.closedSince === null) return 0;
    const { revision } = instance;
    if (this.#routed.some((each) => each.revision === revision && each.closedSince === null)) return 0;
    return Math.max(0, instance.closedSince + (this.policy.sticky?.pages ?? 0) - performance.now());
  }

  #preview({ head }: Routed): boolean {
    const { preview } = this.policy;
    if (!preview || !head || this.#previewed.length === 0 || this.#ended) return false;
    if (preview.host !== null && preview.host.toLowerCase() === head.host) return true;
    return preview.header !== null && hasLine(head.lines, preview.header.name, preview.header.value);
  }

  #mustWait({ tried }: Routed): boolean {
    return this.#holds() || (this.hold.size > 0 && tried.length === 0);
  }

  #wait(request: Routed): void {
    request.tried = [];
    this.hold.add(request, this.policy.hold);
  }

  #closed(): boolean {
    return this.#ended || (!this.#table.hold && this.#table.routes.length === 0);
  }

  #holds(): boolean {
    return this.#table.hold || !this.#balancer.open;
  }

  #noInstance(): Refusal {
    const message = this.#ended ? `${this.name} is being removed` : `${this.name} has no instance`;
    return { status: 503, reason: 'no-instance', message, retryAfter: 1 };
  }
}

function leastBusy(instances: Instance[]): Instance | undefined {
  return instances.toSorted((a, b) => a.inFlight.size - b.inFlight.size)[0];
}

function hasLine(lines: string, name: string, value: string): boolean {
  const wanted = name.toLowerCase();
  return lines
    .split('\r\n')
    .some(
      (line) =>
        line.slice(0, line.indexOf(':')).toLowerCase() === wanted &&
        line.slice(line.indexOf(':') + 2) === value,
    );
}
