import type { Socket } from 'node:net';
import { TLSSocket } from 'node:tls';
import type { InFlight, Instance } from './instance.ts';
import { LIMITS } from './limits.ts';
import { type Refusal, UNREACHABLE } from './refusal.ts';
import type { Routed, Service } from './service.ts';

/** ms of silence after which a peer is asked whether it is still there */
const KEEP_ALIVE = 60_000;

/**
 * Takes a client's connection to an instance of a `mode: tcp` service, byte for byte: ends and resets of either side
 * reach the other. The client's socket is not read before there is an instance. A refusal closes the connection.
 */
export function serveTcp(service: Service, client: Socket): void {
  new Connection(service, client).start();
}

class Connection implements Routed, InFlight {
  readonly kind = 'connection';
  readonly head = undefined;
  readonly size = 0;
  tried: Instance[] = [];
  readonly #service: Service;
  readonly #client: Socket;
  #instance: Instance | undefined;
  #upstream: Socket | undefined;
  #giveUp: (() => void) | undefined;
  /** of the connection that is being made, as performance.now() */
  #deadline = Number.POSITIVE_INFINITY;

  constructor(service: Service, client: Socket) {
    this.#service = service;
    this.#client = client;
  }

  start(): void {
    this.#service.requests++;
    this.#client.pause();
    keep(this.#client);
    // one that has gone before it came here
    if (this.#client.destroyed) return;
    this.#client.on('error', () => undefined);
    this.#client.once('close', () => {
      if (this.#upstream && !ended(this.#client)) reset(this.#upstream);
      this.#end();
    });
    this.#service.route(this);
  }

  proceed(): void {
    this.#service.proceed(this);
  }

  send(instance: Instance): void {
    this.tried.push(instance);
    this.#instance = instance;
    instance.enter(this);
    this.#deadline = performance.now() + this.#service.policy.timeouts.connect;
    this.#giveUp = instance.connectBare(
      (upstream) => this.#splice(upstream),
      () => this.#unreachable(instance, 'connect'),
    );
  }

  check(now: number): void {
    if (now < this.#deadline || this.#instance === undefined) return;
    this.#giveUp?.();
    this.#unreachable(this.#instance, 'answer');
  }

  refuse({ reason }: Refusal): void {
    this.#service.refused(reason);
    this.#client.destroy();
  }

  cut(): void {
    this.#service.broke();
    // an end would pass for that of the whole answer
    reset(this.#client);
    if (this.#upstream) reset(this.#upstream);
  }

  #splice(upstream: Socket): void {
    this.#deadline = Number.POSITIVE_INFINITY;
    this.#giveUp = undefined;
    this.#upstream = upstream;
    this.#service.succeeded(this.#instance);
    keep(upstream);
    upstream.on('error', () => undefined);
    upstream.once('close', () => {
      if (!ended(upstream)) this.#broken(upstream);
      this.#end();
    });
    this.#client.pipe(upstream).pipe(this.#client);
  }

  /** Nothing was sent: another instance is as good. */
  #unreachable(instance: Instance, failure: 'connect' | 'answer'): void {
    this.#deadline = Number.POSITIVE_INFINITY;
    this.#giveUp = undefined;
    instance.leave(this);
    if (this.#client.destroyed) return;
    this.#service.failed(instance, failure);
    if (this.tried.length > LIMITS.retries) this.refuse(UNREACHABLE);
    else this.#service.route(this);
  }

  /** The instance takes no more. If it has said all it had to say, the client gets the rest of that first. */
  #broken(upstream: Socket): void {
    if (this.#client.destroyed) return;
    if (!upstream.readableEnded) {
      reset(this.#client);
      return;
    }
    const late = setTimeout(() => reset(this.#client), LIMITS.linger);
    this.#client.once('close', () => clearTimeout(late));
    // bytes left unread would turn the end of the connection into a reset
    this.#client.unpipe(upstream).resume();
  }

  /** In flight until both sides are closed. */
  #end(): void {
    if (!this.#client.closed || this.#upstream?.closed === false) return;
    this.#deadline = Number.POSITIVE_INFINITY;
    this.#giveUp?.();
    this.#service.hold.forget(this);
    this.#instance?.leave(this);
  }
}

/** Whether both directions came to their end. */
function ended(socket: Socket): boolean {
  return socket.readableEnded && socket.writableFinished;
}

function reset(socket: Socket): void {
  // TLS has no reset, and one that is connecting would be reset only once it is connected
  if (socket instanceof TLSSocket || socket.connecting) socket.destroy();
  else socket.resetAndDestroy();
}

function keep(socket: Socket): void {
  socket.allowHalfOpen = true;
  socket.setNoDelay(true);
  socket.setKeepAlive(true, KEEP_ALIVE);
  socket.setTimeout(0);
}
