import { createServer, type IncomingMessage, type Server } from 'node:http';
import { type AddressInfo, Server as NetServer, type Socket } from 'node:net';
import type { ListenAddress } from '../port.ts';
import { ClientResponse, Exchange, type ListenerState } from './exchange.ts';
import { LIMITS } from './limits.ts';
import type { Log } from './log.ts';
import { cannotListen } from './ports.ts';
import { type Refusal, refuseRaw } from './refusal.ts';
import type { Service } from './service.ts';
import { upgrade } from './upgrade.ts';

type HttpServer = Server<typeof IncomingMessage, typeof ClientResponse>;

/** Makes a server listen on an address; the outcome is its 'listening' or its 'error'. */
export type ListenOn = (server: NetServer, address: ListenAddress) => void;

/** The open port of a service. */
export class Listener {
  readonly #server: HttpServer;
  /** the address asked for; its port may be 0 */
  readonly #asked: ListenAddress;
  readonly #sockets: Set<Socket>;
  readonly #state: ListenerState;
  #closed: Promise<void> | undefined;

  private constructor(server: HttpServer, asked: ListenAddress, sockets: Set<Socket>, state: ListenerState) {
    this.#server = server;
    this.#asked = asked;
    this.#sockets = sockets;
    this.#state = state;
  }

  /** Opens the port (UD_PORT_IN_USE where it cannot be); `listenOn` says how. */
  static async open(
    asked: ListenAddress,
    service: Service,
    log: Log,
    listenOn: ListenOn = listenHere,
  ): Promise<Listener> {
    const sockets = new Set<Socket>();
    const state = { closing: false };
    const server = httpServer(service, state, log);
    server.on('connection', (socket: Socket) => {
      // a request that went on as a plain one (upgrade.ts) comes again with the same socket
      if (sockets.has(socket)) return;
      sockets.add(socket);
      socket.once('close', () => sockets.delete(socket));
    });
    await new Promise<void>((resolve, reject) => {
      server.once('error', (error) => reject(cannotListen(asked, error)));
      server.once('listening', resolve);
      listenOn(server, asked);
    });
    // an accept that failed for want of descriptors: the next one may not
    server.on('error', () => undefined);
    return new Listener(server, asked, sockets, state);
  }

  get address(): ListenAddress {
    const address = this.#server.address() as AddressInfo | null;
    return { host: this.#asked.host, port: address?.port ?? this.#asked.port };
  }

  /** Whether a table that asks for this address is served here already. */
  serves({ host, port }: ListenAddress): boolean {
    return host === this.#asked.host && (port === this.#asked.port || port === this.address.port);
  }

  /**
   * Takes no more connections; resolves when the last one has ended, at the latest after `graceMs`. http.Server's own
   * `close` would race with requests on idle connections: this one answers those first, with `Connection: close`.
   * Called again, it ends earlier if that grace is shorter.
   */
  async close(graceMs: number): Promise<void> {
    const cut = setTimeout(() => {
      for (const socket of this.#sockets) socket.destroy();
    }, graceMs);
    this.#closed ??= this.#stop(graceMs);
    await this.#closed;
    clearTimeout(cut);
  }

  async #stop(graceMs: number): Promise<void> {
    this.#state.closing = true;
    const closed = new Promise<void>((resolve) => this.#server.once('close', resolve));
    NetServer.prototype.close.call(this.#server);
    const closeIdle = () => this.#server.closeIdleConnections();
    let repeat: NodeJS.Timeout | undefined;
    const idle = setTimeout(
      () => {
        closeIdle();
        // an answer that had begun before the close says keep-alive: its connection becomes idle later
        repeat = setInterval(closeIdle, 250);
      },
      Math.min(LIMITS.closeIdleAfter, graceMs),
    );
    await closed;
    for (const timer of [idle, repeat]) clearTimeout(timer);
    this.#server.close(() => undefined); // stops the interval of http.Server that checks for slow clients
  }
}

function httpServer(service: Service, state: ListenerState, log: Log): HttpServer {
  const serve = (req: IncomingMessage, res: ClientResponse) => {
    try {
      new Exchange(service, state, req, res).start();
    } catch (error) {
      // a request that we stumble over must not take the others with it
      log('error', 'a request failed', { service: service.name, error: String(error) });
      service.failures++;
      res.destroy();
    }
  };
  const server = createServer(
    {
      ServerResponse: ClientResponse,
      keepAliveTimeout: LIMITS.clientIdle,
      headersTimeout: LIMITS.clientHead,
      requestTimeout: 0,
      connectionsCheckingInterval: 5_000,
      maxHeaderSize: LIMITS.headBytes,
      noDelay: true,
      keepAlive: true,
    },
    serve,
  );
  server.on('checkContinue', serve);
  server.on('upgrade', (req, socket, head) => upgrade(server, service, req, socket as Socket, head));
  server.on('connect', (_req, socket) => {
    socket.on('error', () => socket.destroy());
    fail(service, socket as Socket, { status: 405, reason: 'method', message: 'CONNECT is not served' });
  });
  server.on('clientError', (error: NodeJS.ErrnoException, socket) => {
    const refusal = unreadable(error);
    if (refusal === undefined || answering(socket as Socket)) socket.destroy();
    else fail(service, socket as Socket, refusal);
  });
  return server;
}

function fail(service: Service, socket: Socket, refusal: Refusal): void {
  service.requests++;
  service.failures++;
  refuseRaw(socket, refusal);
}

/** What to say to a client whose request cannot be read; nothing where it has gone. */
function unreadable({ code }: NodeJS.ErrnoException): Refusal | undefined {
  if (code === 'HPE_HEADER_OVERFLOW')
    return { status: 431, reason: 'bad-request', message: `the header is over ${LIMITS.headBytes} bytes` };
  if (code === 'ERR_HTTP_REQUEST_TIMEOUT')
    return { status: 408, reason: 'bad-request', message: 'the request came too slowly' };
  // the end of the connection in the midst of a request
  if (code === 'HPE_INVALID_EOF_STATE') return undefined;
  if (code?.startsWith('HPE_'))
    return { status: 400, reason: 'bad-request', message: 'the request is not valid HTTP/1.1' };
  return undefined;
}

/** Whether an answer has begun on the connection: another one in its midst would be taken for part of it. */
function answering(socket: Socket): boolean {
  const { _httpMessage } = socket as Socket & { _httpMessage?: ClientResponse | null };
  return _httpMessage?.headersSent === true;
}

function listenHere(server: NetServer, { host, port }: ListenAddress): void {
  server.listen({ host, port, backlog: LIMITS.backlog });
}
