import { type AddressInfo, createServer, type Server, type Socket } from 'node:net';
import type { TLSSocket } from 'node:tls';
import type { TrafficPolicy } from '../../domain/traffic.ts';
import type { ListenAddress } from '../port.ts';
import type { Downstream } from './downstream.ts';
import { Exchange } from './exchange.ts';
import type { RequestHead } from './headers.ts';
import { ClientConnection, type ClientSite, type Connection } from './http1/client-connection.ts';
import { Http2Connection } from './http2.ts';
import { LIMITS } from './limits.ts';
import type { Log } from './log.ts';
import { Matches } from './match.ts';
import { cannotListen } from './process/ports.ts';
import { type Refusal, refuseRaw } from './refusal.ts';
import type { Service } from './service.ts';
import { serveTcp } from './tcp.ts';
import { type CertificateEntry, Certificates } from './tls/certificates.ts';
import { secure } from './tls/secure.ts';
import { Unserved } from './unserved.ts';
import { upgrade } from './websocket/upgrade.ts';

/** Makes a server listen on an address; the outcome is its 'listening' or its 'error'. */
export type ListenOn = (server: Server, address: ListenAddress) => void;

/** Opens the port for this process alone. */
export const listenHere: ListenOn = (server, { host, port }) => {
  server.listen({ host, port, backlog: LIMITS.backlog });
};

/** An open port, and the services that share it. */
export class Listener implements ClientSite {
  closing = false;
  readonly services = new Set<Service>();
  longestHead = 0;
  timeouts = { head: 0, body: 0, idle: 0 };
  readonly #server: Server;
  /** the address asked for; its port may be 0 */
  readonly #asked: ListenAddress;
  readonly #certificates: Certificates;
  readonly #connections = new Set<Connection>();
  /** connections that are not HTTP's, or not any more */
  readonly #taken = new Set<Socket>();
  #closed: Promise<void> | undefined;
  #matches = new Matches<Service>([]);

  private constructor(server: Server, asked: ListenAddress, log: Log) {
    this.#server = server;
    this.#asked = asked;
    this.#certificates = new Certificates(log);
  }

  /** Opens the port (UD_PORT_IN_USE, UD_TLS) for a service, which has to be in place already, and its policy to be. */
  static async open(
    asked: ListenAddress,
    service: Service,
    { tls, match }: TrafficPolicy,
    { listenOn, log }: { listenOn: ListenOn; log: Log },
  ): Promise<Listener> {
    const server = createServer({
      noDelay: true,
      keepAlive: true,
      // Node's types do not know it yet
      ...({ highWaterMark: LIMITS.buffered } as object),
    });
    const listener = new Listener(server, asked, log);
    listener.certify(service, { tls, match });
    listener.add(service);
    server.on('connection', (socket) => listener.#take(socket));
    await new Promise<void>((resolve, reject) => {
      server.once('error', (error) => reject(cannotListen(asked, error)));
      server.once('listening', resolve);
      listenOn(server, asked);
    });
    // an accept that failed for want of descriptors: the next one may not
    server.on('error', () => undefined);
    return listener;
  }

  get address(): ListenAddress {
    const address = this.#server.address() as AddressInfo | null;
    return { host: this.#asked.host, port: address?.port ?? this.#asked.port };
  }

  /** Whether a table that asks for this address is served here already. */
  serves({ host, port }: ListenAddress): boolean {
    return host === this.#asked.host && (port === this.#asked.port || port === this.address.port);
  }

  /** Takes the certificate that a service's next policy names (UD_TLS: it cannot be used, and nothing has changed). */
  certify(service: Service, policy: Pick<TrafficPolicy, 'tls' | 'match'>): void {
    const entries = [...this.services]
      .filter((each) => each !== service)
      .map((each) => entryOf(each.name, each.policy));
    this.#certificates.apply(
      [...entries, entryOf(service.name, policy)].filter((entry) => entry !== undefined),
    );
  }

  add(service: Service): void {
    this.services.add(service);
    this.refresh();
  }

  /** Takes a service away; false: it is the last one, and stays until the listener has closed. */
  delete(service: Service): boolean {
    if (this.services.size === 1) return false;
    this.services.delete(service);
    this.certify(service, { tls: null, match: [] });
    this.refresh();
    return true;
  }

  /** Takes the policies of its services over. */
  refresh(): void {
    const policies = [...this.services].map(({ policy }) => policy);
    const most = (pick: (policy: Service['policy']) => number) => Math.max(0, ...policies.map(pick));
    this.#matches = new Matches([...this.services].map((of) => ({ of, match: of.policy.match })));
    this.longestHead = most(({ limits }) => limits.head);
    this.timeouts = {
      head: most(({ timeouts }) => timeouts.head),
      body: most(({ timeouts }) => timeouts.body),
      idle: most(({ timeouts }) => timeouts.idle),
    };
  }

  exchange(head: RequestHead, downstream: Downstream) {
    const service = this.#matches.find(head.host, head.path);
    if (service === undefined) return new Unserved(downstream, NO_SERVICE);
    service.requests++;
    if (service.answersHealth(head))
      return new Unserved(downstream, HELD_HEALTH, (bytes) => service.answered(head, HELD_HEALTH, bytes));
    return new Exchange(service, head, downstream);
  }

  upgrade(head: RequestHead, socket: Socket, ahead: Buffer): void {
    const service = this.#matches.find(head.host, head.path);
    this.#keep(socket);
    if (service === undefined) refuseRaw(socket, NO_SERVICE);
    else upgrade(service, head, socket, ahead);
  }

  onUnreadable(refusal: Refusal): void {
    const [only] = this.services;
    if (this.services.size !== 1 || only === undefined) return;
    only.requests++;
    only.refused(refusal.reason);
  }

  onLeft(connection: Connection): void {
    this.#connections.delete(connection);
  }

  /** Looks after deadlines; `now` as performance.now(). */
  check(now: number): void {
    for (const connection of this.#connections) connection.check(now);
  }

  /**
   * Takes no more connections; resolves when the last one has ended, at the latest after `graceMs`. Requests that are on
   * the wire already are still answered, with `Connection: close`. Called again, it ends earlier if that grace is shorter.
   */
  async close(graceMs: number): Promise<void> {
    const cut = setTimeout(() => {
      for (const connection of this.#connections) connection.cut();
      for (const socket of this.#taken) socket.destroy();
    }, graceMs);
    this.#closed ??= this.#stop(graceMs);
    await this.#closed;
    clearTimeout(cut);
  }

  async #stop(graceMs: number): Promise<void> {
    this.closing = true;
    const closed = new Promise<void>((resolve) => this.#server.once('close', resolve));
    this.#server.close();
    const closeIdle = () => {
      for (const connection of this.#connections) connection.closeIdle();
    };
    let repeat: NodeJS.Timeout | undefined;
    const idle = setTimeout(
      () => {
        closeIdle();
        // an answer that had begun before the close says keep-alive: its connection becomes idle later
        repeat = setInterval(closeIdle, LIMITS.tick);
      },
      Math.min(LIMITS.closeIdleAfter, graceMs),
    );
    await closed;
    this.#certificates.close();
    for (const timer of [idle, repeat]) clearTimeout(timer);
  }

  #take(socket: Socket): void {
    const [first] = this.services;
    if (first === undefined) {
      socket.destroy();
      return;
    }
    const { mode, tls, timeouts } = first.policy;
    if (tls === null) {
      this.#serve(first, socket);
      return;
    }
    this.#keep(socket);
    const security = {
      certificates: this.#certificates,
      within: timeouts.head,
      ...(mode === 'http' ? { protocols: ['h2', 'http/1.1'] } : {}),
    };
    secure(socket, security, (secured) => this.#serve(first, secured));
  }

  #serve(first: Service, socket: Socket | TLSSocket): void {
    if (first.policy.mode === 'tcp') {
      this.#keep(socket);
      serveTcp(first, socket);
    } else if ('alpnProtocol' in socket && socket.alpnProtocol === 'h2')
      this.#connections.add(new Http2Connection(socket, this));
    else this.#connections.add(new ClientConnection(socket, this, 'encrypted' in socket));
  }

  #keep(socket: Socket): void {
    this.#taken.add(socket);
    socket.once('close', () => this.#taken.delete(socket));
  }
}

function entryOf(
  service: string,
  { tls, match }: Pick<TrafficPolicy, 'tls' | 'match'>,
): CertificateEntry | undefined {
  const hosts = match.flatMap(({ host }) => host ?? []);
  return tls === null ? undefined : { service, hosts, ...tls };
}

const NO_SERVICE: Refusal = { status: 404, reason: 'no-service', message: 'no service takes this request' };
const HELD_HEALTH: Refusal = { status: 200, reason: 'held', message: 'held' };
