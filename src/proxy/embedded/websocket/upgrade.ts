import { Agent, type ClientRequest, IncomingMessage } from 'node:http';
import type { Socket } from 'node:net';
import httpProxy from 'http-proxy';
import type { RequestHead } from '../headers.ts';
import type { InFlight, Instance } from '../instance.ts';
import { LIMITS } from '../limits.ts';
import {
  DRAIN_DEADLINE,
  NO_ANSWER,
  NO_CONNECTION,
  type Refusal,
  refuseRaw,
  UNREACHABLE,
} from '../refusal.ts';
import type { Routed, Service } from '../service.ts';
import { PartingSocket } from './parting.ts';

/** Takes a WebSocket to an instance, through http-proxy; `ahead` is what came with its request. */
export function upgrade(service: Service, head: RequestHead, socket: Socket, ahead: Buffer): void {
  // a reset before the upgrade is answered would end the process
  socket.on('error', () => socket.destroy());
  new Upgrade(service, head, socket, ahead).start();
}

class Upgrade implements Routed, InFlight {
  readonly kind = 'websocket';
  tried: Instance[] = [];
  readonly head: RequestHead;
  readonly #service: Service;
  readonly #req: IncomingMessage;
  readonly #client: Socket;
  /** what http-proxy has in the client's place */
  readonly #parting: PartingSocket;
  #instance: Instance | undefined;
  #upstream: Socket | undefined;
  #giveUp: (() => void) | undefined;
  #deadline = Number.POSITIVE_INFINITY;
  readonly #began = performance.now();
  /** 0: not answered yet */
  #status = 0;
  /** bytes of the client's connection before the first frame */
  #before = { read: 0, written: 0 };
  /** how it ended, other than by a side's closing it */
  #ending: string | undefined;
  #done = false;

  constructor(service: Service, head: RequestHead, client: Socket, ahead: Buffer) {
    this.#service = service;
    this.head = head;
    this.#req = questionOf(service, head, client);
    this.#client = client;
    this.#parting = new PartingSocket(client);
    this.#parting.on('error', () => this.#parting.destroy());
    // what came with the request is the client's first frame
    if (ahead.length > 0) client.unshift(ahead);
  }

  get size(): number {
    return this.head.lines.length;
  }

  start(): void {
    this.#service.requests++;
    this.#parting.once('close', () => this.#end());
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
    this.#deadline = performance.now() + this.#service.policy.timeouts.connect;
    this.#giveUp = instance.connectBare(
      (upstream) => {
        this.#giveUp = undefined;
        this.#upstream = upstream;
        upstream.on('error', () => upstream.destroy());
        this.#handshake(instance, upstream);
      },
      () => this.#retry(instance),
    );
  }

  refuse(refusal: Refusal): void {
    this.#status = refusal.status;
    this.#service.refused(refusal.reason);
    refuseRaw(this.#client, refusal);
    this.#end();
  }

  cut(): void {
    if (this.#done) return;
    if (this.#status === 0) {
      this.refuse(DRAIN_DEADLINE);
      return;
    }
    this.#service.broke();
    this.#ending = 'broken';
    this.#parting.destroy();
    this.#end();
  }

  check(now: number): void {
    if (now < this.#deadline) return;
    this.#service.failed(this.#instance, 'answer');
    this.#fail(this.#giveUp === undefined ? NO_ANSWER : NO_CONNECTION);
  }

  /** Ends the WebSocket with a close frame, 1001, to both sides; one whose upgrade is under way, when it is answered. */
  goAway(): void {
    this.#ending = 'drained';
    this.#parting.goAway();
  }

  /** http-proxy has sent the request. */
  sent(request: ClientRequest): void {
    this.#deadline = performance.now() + this.#service.policy.timeouts.response;
    request.once('upgrade', () => this.#answer(101));
    request.once('response', (response) => {
      this.#answer(response.statusCode ?? 0);
      // http-proxy leaves the client waiting for the rest of a body that ended early
      response.once('close', () => response.complete || this.#client.destroy());
    });
  }

  /** http-proxy has sent the answer on: frames follow. */
  opened(): void {
    this.#before = { read: this.#client.bytesRead, written: this.#client.bytesWritten };
    this.#parting.open();
  }

  #answer(status: number): void {
    this.#status = status;
    this.#deadline = Number.POSITIVE_INFINITY;
    this.#service.succeeded(this.#instance);
    // how long its WebSocket is open says nothing of an instance
    this.#instance?.counts.answered(status, this.#seconds());
  }

  /** The instance has failed it, and nobody else may be asked. */
  #fail(refusal: Refusal): void {
    if (this.#instance) this.#instance.counts.broken++;
    this.refuse(refusal);
  }

  #retry(instance: Instance): void {
    this.#giveUp = undefined;
    if (this.#done) return;
    this.#service.failed(instance, 'connect');
    if (this.tried.length > LIMITS.retries) {
      this.#fail(UNREACHABLE);
      return;
    }
    instance.counts.retries++;
    instance.leave(this);
    this.#instance = undefined;
    this.#deadline = Number.POSITIVE_INFINITY;
    this.#service.route(this);
  }

  #handshake(instance: Instance, upstream: Socket): void {
    // http-proxy only ends the client's side, which a client that never closes its own would keep half open
    upstream.once('close', () => {
      if (this.#status !== 0) this.#parting.destroySoon();
      else if (!this.#done) this.#fail(NO_UPGRADE);
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
        if (this.#status === 0 && !this.#done) this.#fail(NO_UPGRADE);
      },
    );
  }

  #end(): void {
    if (this.#done) return;
    this.#done = true;
    this.#deadline = Number.POSITIVE_INFINITY;
    this.#service.hold.forget(this);
    this.#giveUp?.();
    this.#upstream?.destroy();
    this.#instance?.leave(this);
    this.#log();
  }

  #seconds(): number {
    return (performance.now() - this.#began) / 1000;
  }

  #log(): void {
    const { read, written } = this.#before;
    const opened = written > 0;
    this.#service.log?.({
      id: this.head.id,
      method: this.head.method,
      host: this.head.host,
      path: this.head.path,
      status: this.#status,
      seconds: this.#seconds(),
      received: opened ? this.#client.bytesRead - read : 0,
      sent: opened ? this.#client.bytesWritten - written : 0,
      instance: this.#instance?.name,
      revision: this.#instance?.revision,
      attempts: this.tried.length,
      end: this.#status === 0 ? 'client-gone' : this.#ending,
    });
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

/** The request as http-proxy wants it. */
function questionOf(service: Service, head: RequestHead, client: Socket): IncomingMessage {
  const req = new IncomingMessage(client);
  req.method = head.method;
  req.url = head.path;
  req.httpVersion = '1.1';
  const [, ...lines] = service.requestText(head, false).trimEnd().split('\r\n');
  for (const line of lines) {
    const at = line.indexOf(': ');
    const name = line.slice(0, at).toLowerCase();
    const before = req.headers[name];
    req.headers[name] = before === undefined ? line.slice(at + 2) : `${before}, ${line.slice(at + 2)}`;
  }
  req.headers.connection = 'Upgrade';
  req.headers.upgrade = 'websocket';
  return req;
}

const underWay = new WeakMap<IncomingMessage | Socket, Upgrade>();
const proxy = httpProxy.createProxyServer({});
// it emits every error of a client's socket, and throws those that nobody listens to; `Upgrade` sees them itself
proxy.on('error', () => undefined);
proxy.on('proxyReqWs', (request, req) => underWay.get(req)?.sent(request));
proxy.on('open', (upstream) => underWay.get(upstream)?.opened());

const NO_UPGRADE: Refusal = {
  status: 502,
  reason: 'upstream',
  message: 'the instance did not answer the upgrade',
};
