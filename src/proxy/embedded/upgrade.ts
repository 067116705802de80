import type { EventEmitter } from 'node:events';
import { Agent, type ClientRequest, type IncomingMessage } from 'node:http';
import { connect, type Socket } from 'node:net';
import httpProxy from 'http-proxy';
import { requestHead } from './headers.ts';
import type { InFlight, Instance } from './instance.ts';
import { LIMITS } from './limits.ts';
import { PartingSocket } from './parting.ts';
import { type Refusal, refuseRaw } from './refusal.ts';
import type { Routed, Service } from './service.ts';

/**
 * Serves an upgrade request. WebSockets go through http-proxy; any other protocol (`curl --http2` offers h2c) is not
 * offered here, and the request goes on as a plain one, as RFC 9110 section 7.8 has it.
 */
export function upgrade(
  server: EventEmitter,
  service: Service,
  req: IncomingMessage,
  socket: Socket,
  head: Buffer,
): void {
  // node:http has taken its own away, and a reset before the upgrade is answered would end the process
  socket.on('error', () => socket.destroy());
  if (req.method === 'GET' && req.headers.upgrade?.toLowerCase() === 'websocket')
    new Upgrade(service, req, socket, head).start();
  else servePlain(server, req, socket, head);
}

class Upgrade implements Routed, InFlight {
  tried: Instance[] = [];
  readonly #service: Service;
  readonly #req: IncomingMessage;
  readonly #client: Socket;
  /** what http-proxy has in the client's place */
  readonly #parting: PartingSocket;
  #instance: Instance | undefined;
  #upstream: Socket | undefined;
  #late: NodeJS.Timeout | undefined;
  #answered = false;
  #done = false;

  constructor(service: Service, req: IncomingMessage, client: Socket, head: Buffer) {
    this.#service = service;
    this.#req = req;
    this.#client = client;
    this.#parting = new PartingSocket(client);
    this.#parting.on('error', () => this.#parting.destroy());
    // what came with the request is the client's first frame
    if (head.length > 0) client.unshift(head);
  }

  start(): void {
    this.#service.requests++;
    this.#parting.once('close', () => this.#end());
    const head = requestHead(this.#req);
    if ('status' in head) {
      this.refuse(head);
      return;
    }
    this.#req.url = head.path;
    this.#req.headers = { ...joined(head.headers), connection: 'Upgrade', upgrade: 'websocket' };
    this.#service.route(this);
  }

  proceed(): void {
    this.#service.proceed(this);
  }

  /** The connection is made here and handed to http-proxy, which could not try another instance. */
  send(instance: Instance): void {
    this.tried.push(instance);
    this.#instance = instance;
    instance.enter(this);
    const upstream = connect({ host: instance.host, port: instance.port, noDelay: true, keepAlive: true });
    this.#upstream = upstream;
    let timedOut = false;
    const timer = setTimeout(() => {
      timedOut = true;
      upstream.destroy(new Error('no connection in time'));
    }, LIMITS.connect);
    const failed = () => {
      clearTimeout(timer);
      if (this.#done) return;
      instance.eject();
      if (timedOut || this.tried.length > LIMITS.retries) this.refuse(timedOut ? NO_CONNECTION : UNREACHABLE);
      else {
        instance.leave(this);
        this.#instance = undefined;
        this.#service.route(this);
      }
    };
    upstream.once('error', failed);
    upstream.once('connect', () => {
      clearTimeout(timer);
      if (this.#done) return;
      upstream.off('error', failed);
      upstream.on('error', () => upstream.destroy());
      this.#handshake(instance, upstream);
    });
  }

  refuse(refusal: Refusal): void {
    this.#service.failures++;
    refuseRaw(this.#client, refusal);
    this.#end();
  }

  cut(): void {
    if (this.#done) return;
    this.#service.failures++;
    this.#parting.destroy();
    this.#end();
  }

  /** Ends the WebSocket with a close frame, 1001, to both sides; one whose upgrade is under way, when it is answered. */
  goAway(): void {
    this.#parting.goAway();
  }

  /** http-proxy has sent the request. */
  sent(request: ClientRequest): void {
    this.#late = setTimeout(() => this.#answered || this.refuse(NO_ANSWER), LIMITS.response);
    request.once('upgrade', () => this.#answer());
    request.once('response', (response) => {
      this.#answer();
      // http-proxy leaves the client waiting for the rest of a body that ended early
      response.once('close', () => response.complete || this.#client.destroy());
    });
  }

  /** http-proxy has sent the answer on: frames follow. */
  opened(): void {
    this.#parting.open();
  }

  #answer(): void {
    this.#answered = true;
    clearTimeout(this.#late);
  }

  #handshake(instance: Instance, upstream: Socket): void {
    // http-proxy only ends the client's side, which a client that never closes its own would keep half open
    upstream.once('close', () => {
      if (this.#answered) this.#parting.destroySoon();
      else if (!this.#done) this.refuse(NO_UPGRADE);
    });
    underWay.set(this.#req, this);
    underWay.set(upstream, this);
    const target = { host: instance.host, port: instance.port, protocol: 'http:' };
    proxy.ws(
      this.#req,
      // all that http-proxy asks of a socket
      this.#parting as unknown as Socket,
      Buffer.alloc(0),
      { target, agent: new Connected(upstream), toProxy: true },
      () => {
        if (!this.#answered && !this.#done) this.refuse(NO_UPGRADE);
      },
    );
  }

  #end(): void {
    if (this.#done) return;
    this.#done = true;
    clearTimeout(this.#late);
    this.#service.hold.forget(this);
    this.#upstream?.destroy();
    this.#instance?.leave(this);
  }
}

/** An agent with exactly one connection, made already. */
class Connected extends Agent {
  readonly #socket: Socket;

  constructor(socket: Socket) {
    super({ keepAlive: false });
    this.#socket = socket;
  }

  override createConnection(): Socket {
    return this.#socket;
  }
}

/** Gives a request back to the server without its offer to upgrade. */
function servePlain(server: EventEmitter, req: IncomingMessage, socket: Socket, head: Buffer): void {
  const lines = [`${req.method} ${req.url} HTTP/${req.httpVersion}`];
  for (let i = 0; i + 1 < req.rawHeaders.length; i += 2) {
    const name = req.rawHeaders[i] as string;
    const value = req.rawHeaders[i + 1] as string;
    const lower = name.toLowerCase();
    if (lower === 'upgrade') continue;
    lines.push(`${name}: ${lower === 'connection' ? withoutUpgrade(value) : value}`);
  }
  socket.unshift(Buffer.concat([Buffer.from(`${lines.join('\r\n')}\r\n\r\n`, 'latin1'), head]));
  server.emit('connection', socket);
}

function withoutUpgrade(connection: string): string {
  const options = connection.split(',').filter((option) => option.trim().toLowerCase() !== 'upgrade');
  return options.length > 0 ? options.join(',') : 'keep-alive';
}

function joined(headers: string[]): Record<string, string> {
  const record: Record<string, string> = {};
  for (let i = 0; i + 1 < headers.length; i += 2) {
    const name = (headers[i] as string).toLowerCase();
    const value = headers[i + 1] as string;
    const before = record[name];
    record[name] = before === undefined ? value : `${before}${name === 'cookie' ? '; ' : ', '}${value}`;
  }
  return record;
}

const underWay = new WeakMap<IncomingMessage | Socket, Upgrade>();
const proxy = httpProxy.createProxyServer({});
// it emits every error of a client's socket, and throws those that nobody listens to; `Upgrade` sees them itself
proxy.on('error', () => undefined);
proxy.on('proxyReqWs', (request, req) => underWay.get(req)?.sent(request));
proxy.on('open', (upstream) => underWay.get(upstream)?.opened());

const UNREACHABLE: Refusal = { status: 502, reason: 'connect', message: 'no instance could be reached' };
const NO_CONNECTION: Refusal = {
  status: 504,
  reason: 'connect-timeout',
  message: 'the instance took no connection',
};
const NO_ANSWER: Refusal = {
  status: 504,
  reason: 'response-timeout',
  message: 'the instance did not answer in time',
};
const NO_UPGRADE: Refusal = {
  status: 502,
  reason: 'upstream',
  message: 'the instance did not answer the upgrade',
};
