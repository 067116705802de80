import { type IncomingMessage, ServerResponse } from 'node:http';
import type { Dispatcher } from 'undici';
import { type RequestHead, requestHead, responseHeaders, responseTrailers } from './headers.ts';
import type { InFlight, Instance } from './instance.ts';
import { LIMITS } from './limits.ts';
import { type Refusal, writeRefusal } from './refusal.ts';
import type { Routed, Service } from './service.ts';
import { endEarly, Upload } from './upload.ts';

/** What an exchange has to know of the listener it came through. */
export interface ListenerState {
  /** no more requests on this connection: the listener is going away */
  closing: boolean;
}

/** A client's answer that knows its exchange: one 'close' listener serves all of them. */
export class ClientResponse extends ServerResponse<IncomingMessage> {
  exchange: Exchange | undefined;
}

/** Takes one request to an instance and its answer back, trying further instances where that is safe. */
export class Exchange implements Dispatcher.DispatchHandler, Routed, InFlight {
  tried: Instance[] = [];
  readonly #service: Service;
  readonly #listener: ListenerState;
  readonly #req: IncomingMessage;
  readonly #res: ClientResponse;
  #head: RequestHead | undefined;
  /** may be sent twice without harm: idempotent and without a body */
  #repeatable = false;
  #instance: Instance | undefined;
  #controller: Dispatcher.DispatchController | undefined;
  #late: NodeJS.Timeout | undefined;
  #flushed = false;
  #drains = false;
  #done = false;
  readonly #begun = performance.now();

  constructor(service: Service, listener: ListenerState, req: IncomingMessage, res: ClientResponse) {
    this.#service = service;
    this.#listener = listener;
    this.#req = req;
    this.#res = res;
  }

  start(): void {
    this.#service.requests++;
    this.#res.exchange = this;
    this.#res.on('close', onClientClosed);
    // behind another request on its connection, an answer has no socket yet and hears nothing of the client's going
    if (this.#res.socket === null) this.#req.socket.setMaxListeners(0).once('close', () => this.abandon());
    // requests that were sent ahead are still read when their client has gone, and nobody would tell us again
    if (this.#req.socket.destroyed) {
      this.abandon();
      return;
    }
    const head = requestHead(this.#req);
    if ('status' in head) {
      this.refuse(head);
      return;
    }
    this.#head = head;
    this.#repeatable = !head.hasBody && IDEMPOTENT.has(this.#req.method ?? '');
    this.#service.route(this);
  }

  proceed(): void {
    this.#service.proceed(this);
  }

  send(instance: Instance): void {
    const head = this.#head;
    if (head === undefined) return;
    this.tried.push(instance);
    this.#instance = instance;
    this.#controller = undefined;
    instance.enter(this);
    const pool = this.#repeatable ? instance.kept : instance.fresh;
    pool.dispatch(
      {
        path: head.path,
        method: this.#req.method as Dispatcher.HttpMethod,
        headers: head.headers,
        body: head.hasBody ? this.#upload(head.expectsContinue) : null,
      },
      this,
    );
  }

  refuse(refusal: Refusal): void {
    this.#finish();
    this.#service.refuse(refusal.reason);
    if (this.#listener.closing || refusal.close) this.#res.shouldKeepAlive = false;
    writeRefusal(this.#res, refusal);
    if (this.#req.complete || refusal.close) this.#res.end();
    else endEarly(this.#req, this.#res);
  }

  cut(): void {
    if (this.#done) return;
    const controller = this.#controller;
    if (this.#res.headersSent) {
      this.#break();
    } else
      this.refuse({
        status: 503,
        reason: 'drain-deadline',
        message: 'the instance was taken out of service',
      });
    controller?.abort(ENDED);
  }

  /** The client has gone: the instance need not go on. */
  abandon(): void {
    if (this.#done) return;
    this.#service.hold.forget(this);
    this.#finish();
    this.#controller?.abort(ENDED);
  }

  onRequestStart(controller: Dispatcher.DispatchController): void {
    if (this.#done) {
      controller.abort(ENDED);
      return;
    }
    this.#controller = controller;
    if (!this.#repeatable) this.#late = setTimeout(onLate, LIMITS.response, controller);
  }

  onResponseStart(
    controller: Dispatcher.DispatchController,
    status: number,
    _headers: unknown,
    message?: string,
  ): void {
    if (this.#done || status < 200) return;
    clearTimeout(this.#late);
    if (this.#listener.closing) this.#res.shouldKeepAlive = false;
    this.#res.writeHead(status, message, responseHeaders(controller.rawHeaders as Buffer[]));
    process.nextTick(flushHead, this);
  }

  onResponseData(controller: Dispatcher.DispatchController, piece: Buffer): void {
    if (this.#done) return;
    this.#flushed = true;
    if (this.#res.write(piece)) return;
    if (this.#res.destroyed) {
      this.abandon();
      return;
    }
    controller.pause();
    if (this.#drains) return;
    this.#drains = true;
    this.#res.on('drain', onClientDrained);
  }

  onResponseEnd(controller: Dispatcher.DispatchController): void {
    if (this.#done) return;
    this.#instance?.count(this.#res.statusCode, (performance.now() - this.#begun) / 1000);
    this.#finish();
    const trailers = controller.rawTrailers as Buffer[] | null;
    if (trailers !== null && trailers.length > 0 && this.#res.chunkedEncoding)
      this.#res.addTrailers(responseTrailers(trailers));
    if (this.#head?.hasBody && !this.#req.complete) endEarly(this.#req, this.#res);
    else this.#res.end();
  }

  onResponseError(_controller: Dispatcher.DispatchController | undefined, error: Error): void {
    if (this.#done) return;
    const connected = this.#controller !== undefined;
    const fault = faultOf(error);
    if (!connected && fault.reason !== 'bad-request') this.#instance?.eject();
    if (this.#res.headersSent) this.#break();
    else if (fault.lost && (!connected || this.#repeatable) && this.tried.length <= LIMITS.retries)
      this.#retry();
    else this.refuse(fault);
  }

  /** Sends out a head whose body has not begun: an event stream's first event may be far off. */
  flush(): void {
    if (!this.#flushed && !this.#done) this.#res.flushHeaders();
  }

  resume(): void {
    if (!this.#done) this.#controller?.resume();
  }

  #upload(expectsContinue: boolean): Upload {
    return new Upload(
      this.#req,
      () => {
        if (expectsContinue) this.#res.writeContinue();
      },
      () => this.#late?.refresh(),
    );
  }

  #retry(): void {
    if (this.#instance) this.#instance.figures.retries++;
    this.#instance?.leave(this);
    this.#instance = undefined;
    clearTimeout(this.#late);
    this.#service.route(this);
  }

  /** Breaks the client's connection: an answer that cannot be completed must not look complete. */
  #break(): void {
    if (this.#instance) this.#instance.figures.broken++;
    this.#finish();
    this.#service.failures++;
    this.#res.destroy();
  }

  #finish(): void {
    this.#done = true;
    clearTimeout(this.#late);
    this.#instance?.leave(this);
  }
}

interface Fault extends Refusal {
  /** the connection was refused or broke: another instance may do better */
  lost: boolean;
}

function faultOf(error: Error): Fault {
  const { code } = error as NodeJS.ErrnoException;
  if (error === LATE || code === 'UND_ERR_HEADERS_TIMEOUT')
    return {
      status: 504,
      reason: 'response-timeout',
      message: 'the instance did not answer in time',
      lost: false,
    };
  if (code === 'UND_ERR_CONNECT_TIMEOUT' || code === 'ETIMEDOUT')
    return {
      status: 504,
      reason: 'connect-timeout',
      message: 'the instance took no connection',
      lost: false,
    };
  if (code === 'UND_ERR_INVALID_ARG' || code === 'UND_ERR_NOT_SUPPORTED')
    return { status: 400, reason: 'bad-request', message: `request refused: ${error.message}`, lost: false };
  if (code === 'ECONNREFUSED' || code === 'EHOSTUNREACH' || code === 'ENETUNREACH')
    return { status: 502, reason: 'connect', message: 'no instance could be reached', lost: true };
  const lost = code === 'UND_ERR_SOCKET' || (error as NodeJS.ErrnoException).syscall !== undefined;
  return { status: 502, reason: 'upstream', message: `the instance gave no answer: ${error.message}`, lost };
}

function onClientClosed(this: ClientResponse): void {
  this.exchange?.abandon();
}

function onClientDrained(this: ClientResponse): void {
  this.exchange?.resume();
}

function onLate(controller: Dispatcher.DispatchController): void {
  controller.abort(LATE);
}

function flushHead(exchange: Exchange): void {
  exchange.flush();
}

const LATE = new Error('no answer in time');
const ENDED = new Error('ended');
const IDEMPOTENT = new Set(['GET', 'HEAD', 'OPTIONS', 'PUT', 'DELETE']);
