import type { AnswerHead, BodyReader, Downstream, Exchanging } from './downstream.ts';
import { events } from './events.ts';
import { connectionNames, type RequestHead, trailersOf } from './headers.ts';
import type { Asker, InstanceConnection } from './http1/instance-connection.ts';
import type { Head } from './http1/llhttp.ts';
import type { InFlight, Instance } from './instance.ts';
import { LIMITS } from './limits.ts';
import {
  DRAIN_DEADLINE,
  NO_ANSWER,
  NO_CONNECTION,
  type Refusal,
  refusalAnswer,
  UNREACHABLE,
} from './refusal.ts';
import type { Routed, Service } from './service.ts';

/** Takes one request to an instance and its answer back, trying further instances where that is safe. */
export class Exchange implements Exchanging, Asker, BodyReader, Routed, InFlight {
  kind: 'request' | 'events' = 'request';
  tried: Instance[] = [];
  /** instances that may have got it, and gave no answer */
  #lost = 0;
  readonly head: RequestHead;
  readonly #service: Service;
  readonly #downstream: Downstream;
  readonly #began = performance.now();
  /** may be sent twice without harm: idempotent and without a body */
  readonly #repeatable: boolean;
  readonly #hasBody: boolean;
  #instance: Instance | undefined;
  #connection: InstanceConnection | undefined;
  /** the way to give up a connection that is being made */
  #giveUp: (() => void) | undefined;
  /** the connection was used before: that it breaks says nothing of the instance */
  #kept = false;
  #deadline = Number.POSITIVE_INFINITY;
  #sent = 0;
  #received = 0;
  #status = 0;
  #events: ReturnType<typeof events> | undefined;
  #leaving = false;
  #done = false;

  constructor(service: Service, head: RequestHead, downstream: Downstream) {
    this.#service = service;
    this.head = head;
    this.#downstream = downstream;
    this.#hasBody = head.length !== undefined && head.length !== 0;
    this.#repeatable = !this.#hasBody && IDEMPOTENT.has(head.method);
  }

  /** Bytes that it takes up while it waits. */
  get size(): number {
    return this.head.lines.length + this.#downstream.kept;
  }

  start(): void {
    const { body } = this.#service.policy.limits;
    if (body !== null && (this.head.length ?? 0) > body) this.refuse(tooLarge(body));
    else this.#service.route(this);
  }

  proceed(): void {
    this.#service.proceed(this);
  }

  send(instance: Instance): void {
    this.tried.push(instance);
    this.#enter(instance);
    const kept = this.#repeatable ? instance.takeIdle() : undefined;
    if (kept) this.#ask(kept, true);
    else this.#connect(instance, this.#repeatable);
  }

  refuse(refusal: Refusal): void {
    if (this.#done) return;
    const { head, body } = refusalAnswer(refusal);
    this.#status = refusal.status;
    this.#end();
    this.#service.refused(refusal.reason);
    if (refusal.close) this.#downstream.close();
    this.#downstream.answer(head);
    this.#downstream.write(body);
    this.#log(body.length);
    this.#downstream.end();
  }

  cut(): void {
    if (this.#done) return;
    const connection = this.#connection;
    if (this.#status !== 0) this.#break();
    else this.refuse(DRAIN_DEADLINE);
    connection?.destroy();
  }

  /** Ends an event stream after the event that is on its way. */
  goAway(): void {
    this.#leaving = true;
    if (this.#events?.between) this.#endEvents();
  }

  check(now: number): void {
    if (now < this.#deadline) return;
    const connection = this.#connection;
    this.#fail('answer', this.#giveUp === undefined ? NO_ANSWER : NO_CONNECTION);
    connection?.destroy();
  }

  /** The client has gone: the instance need not go on. */
  abandon(): void {
    if (this.#done) return;
    const connection = this.#connection;
    this.#service.hold.forget(this);
    this.#end();
    this.#log(this.#received, 'client-gone');
    connection?.destroy();
  }

  resume(): void {
    this.#connection?.resume();
  }

  onBody(piece: Buffer): void {
    if (this.#done || this.#connection === undefined) return;
    this.#sent += piece.length;
    const { body } = this.#service.policy.limits;
    if (body !== null && this.#sent > body) {
      const connection = this.#connection;
      this.refuse(tooLarge(body));
      connection.destroy();
      return;
    }
    const chunked = this.head.length === null;
    if (chunked) this.#connection.writeBody(`${piece.length.toString(16)}\r\n`);
    const taken = this.#connection.writeBody(piece);
    if (chunked) this.#connection.writeBody('\r\n');
    if (taken) return;
    this.#downstream.pauseBody();
    // it has to read on, or to answer
    if (this.#status === 0) this.#wait(this.#service.policy.timeouts.response);
  }

  onBodyEnd(): void {
    if (this.#done || this.#connection === undefined) return;
    if (this.head.length === null) this.#connection.writeBody('0\r\n\r\n');
    this.#connection.endBody();
    if (this.#status === 0) this.#wait(this.#service.policy.timeouts.response);
  }

  onDrain(): void {
    if (this.#done || this.#downstream.bodyRead) return;
    this.#deadline = Number.POSITIVE_INFINITY;
    this.#downstream.resumeBody();
  }

  onInformed(head: Head): void {
    this.#downstream.inform(answerOf(head, undefined));
  }

  onAnswer(head: Head, length: number | null | undefined): void {
    this.#deadline = Number.POSITIVE_INFINITY;
    this.#status = head.status;
    const answer = answerOf(head, length);
    const cookie = this.#instance && this.#service.cookieFor(this, this.#instance);
    if (cookie !== undefined) answer.added.push(['Set-Cookie', cookie]);
    if (length === null) this.#events = events(head);
    if (this.#events) this.kind = 'events';
    this.#downstream.answer(answer);
  }

  onPiece(piece: Buffer, release?: () => void): void {
    this.#received += piece.length;
    if (this.#events !== undefined) {
      const whole = this.#events.read(piece);
      if (this.#leaving && whole > 0) {
        this.#downstream.write(piece.subarray(0, whole));
        this.#endEvents();
        return;
      }
    }
    if (!this.#downstream.write(piece, release)) this.#connection?.pause();
  }

  onCaughtUp(): void {
    this.#downstream.flush();
  }

  onEnd(trailers: Head | undefined): void {
    const instance = this.#instance;
    const seconds = this.#end();
    instance?.counts.answered(this.#status, seconds);
    if (FAILURES.has(this.#status)) this.#service.failed(instance, 'answer');
    else this.#service.succeeded(instance);
    this.#log(this.#received);
    this.#downstream.end(trailersOf(trailers));
  }

  onBroken(error: Error, answered: boolean): void {
    this.#connection = undefined;
    if (this.#done) return;
    if (this.#status !== 0) {
      this.#service.failed(this.#instance, 'answer');
      this.#break();
    } else if (this.#kept && !answered) this.#askAnew();
    else if (this.#repeatable && !answered) this.#retry('answer', lost(error));
    else this.#fail('answer', lost(error));
  }

  /** `orKept`: one that was used before will do. */
  #connect(instance: Instance, orKept: boolean): void {
    this.#wait(this.#service.policy.timeouts.connect);
    this.#giveUp = instance.connect(
      (connection) => {
        this.#giveUp = undefined;
        this.#ask(connection, false);
      },
      (error) => {
        this.#giveUp = undefined;
        if (!this.#done) this.#retry('connect', unreachable(error));
      },
      orKept
        ? (connection) => {
            this.#giveUp = undefined;
            this.#ask(connection, true);
          }
        : undefined,
    );
  }

  #ask(connection: InstanceConnection, kept: boolean): void {
    this.#connection = connection;
    this.#kept = kept;
    const headless = this.head.method === 'HEAD';
    connection.ask(this, this.#service.requestText(this.head, !this.#repeatable), {
      headless,
      hasBody: this.#hasBody,
    });
    if (this.#hasBody) {
      this.#deadline = Number.POSITIVE_INFINITY;
      this.#downstream.readBody(this);
    } else this.#wait(this.#service.policy.timeouts.response);
  }

  /** The connection was closed while it was idle: the same instance on a new one. */
  #askAnew(): void {
    if (this.#instance) this.#connect(this.#instance, false);
  }

  /** Asks another instance, where there is one left. */
  #retry(failure: 'connect' | 'answer', otherwise: Refusal): void {
    if (failure === 'answer') this.#lost++;
    if (this.#lost > LIMITS.retries) {
      this.#fail(failure, otherwise);
      return;
    }
    const instance = this.#instance;
    this.#service.failed(instance, failure);
    if (instance) instance.counts.retries++;
    instance?.leave(this);
    this.#instance = undefined;
    this.#deadline = Number.POSITIVE_INFINITY;
    this.#service.route(this);
  }

  /** The instance has failed it, and nobody else may be asked. */
  #fail(failure: 'connect' | 'answer', refusal: Refusal): void {
    this.#service.failed(this.#instance, failure);
    if (this.#instance) this.#instance.counts.broken++;
    this.refuse(refusal);
  }

  #enter(instance: Instance): void {
    this.#instance = instance;
    instance.enter(this);
  }

  #wait(within: number): void {
    this.#deadline = performance.now() + within;
  }

  #endEvents(): void {
    const connection = this.#connection;
    const instance = this.#instance;
    const seconds = this.#end();
    instance?.counts.answered(this.#status, seconds);
    this.#log(this.#received, 'drained');
    this.#downstream.close();
    this.#downstream.end();
    connection?.destroy();
  }

  /** An answer that cannot be completed must not look complete. */
  #break(): void {
    const instance = this.#instance;
    this.#end();
    if (instance) instance.counts.broken++;
    this.#service.broke();
    this.#log(this.#received, 'broken');
    this.#downstream.destroy();
  }

  /** It is over; returns how long it took, in seconds. */
  #end(): number {
    this.#done = true;
    this.#giveUp?.();
    this.#giveUp = undefined;
    this.#connection = undefined;
    this.#deadline = Number.POSITIVE_INFINITY;
    this.#instance?.leave(this);
    return (performance.now() - this.#began) / 1000;
  }

  #log(bytes: number, end?: string): void {
    this.#service.log?.({
      id: this.head.id,
      method: this.head.method,
      host: this.head.host,
      path: this.head.path,
      status: this.#status,
      seconds: (performance.now() - this.#began) / 1000,
      received: this.#sent,
      sent: bytes,
      instance: this.#instance?.name,
      revision: this.#instance?.revision,
      attempts: this.tried.length,
      end,
    });
  }
}

function answerOf(head: Head, length: number | null | undefined): AnswerHead {
  let dropped: Set<string> | undefined;
  for (let i = 0; i < head.count; i++) {
    const name = head.name(i);
    if (name.length === 10 && name.toLowerCase() === 'connection')
      dropped = connectionNames(head.value(i), dropped);
  }
  return { status: head.status, reason: head.line, fields: head, dropped, added: [], length };
}

function unreachable(error: Error): Refusal {
  return { ...UNREACHABLE, message: `${UNREACHABLE.message}: ${error.message}` };
}

function lost(error: Error): Refusal {
  return { status: 502, reason: 'upstream', message: `the instance gave no answer: ${error.message}` };
}

function tooLarge(limit: number): Refusal {
  return { status: 413, reason: 'too-large', message: `the body is over ${limit} bytes` };
}

const IDEMPOTENT = new Set(['GET', 'HEAD', 'OPTIONS', 'PUT', 'DELETE']);
/** what an instance says when it cannot do its work */
const FAILURES = new Set([502, 503, 504]);
