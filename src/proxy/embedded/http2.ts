import {
  constants,
  type IncomingHttpHeaders,
  type OutgoingHttpHeaders,
  performServerHandshake,
  type ServerHttp2Session,
  type ServerHttp2Stream,
} from 'node:http2';
import type { TLSSocket } from 'node:tls';
import type { AnswerHead, BodyReader, Downstream, Exchanging } from './downstream.ts';
import { eachHeader, type RequestHead, requestHead } from './headers.ts';
import { addressOf, type ClientSite } from './http1/client-connection.ts';
import type { Fields } from './http1/llhttp.ts';
import { LIMITS } from './limits.ts';
import { type Refusal, refusalAnswer } from './refusal.ts';

/** One HTTP/2 connection of a client. */
export class Http2Connection {
  readonly #session: ServerHttp2Session;
  readonly #site: ClientSite;
  readonly #remote: string;
  readonly #streams = new Set<Http2Stream>();

  /** `socket`: its handshake has ended, and HTTP/2 was agreed on. */
  constructor(socket: TLSSocket, site: ClientSite) {
    this.#site = site;
    this.#remote = addressOf(socket);
    this.#session = performServerHandshake(socket, {
      maxHeaderListPairs: LIMITS.http2.headers,
      maxSessionMemory: LIMITS.http2.memory,
      settings: {
        maxConcurrentStreams: LIMITS.http2.streams,
        maxHeaderListSize: site.longestHead,
        initialWindowSize: LIMITS.buffered,
      },
    });
    this.#session.setLocalWindowSize(LIMITS.http2.window);
    this.#session.setTimeout(site.timeouts.idle, () => this.closeIdle());
    // what is wrong with a connection is told to its client by nghttp2, and ends it
    this.#session.on('error', () => undefined);
    this.#session.on('close', () => site.onLeft(this));
    this.#session.on('stream', ((stream, headers, flags, raw) =>
      this.#serve(stream, headers, (flags & constants.NGHTTP2_FLAG_END_STREAM) === 0, raw)) as OnStream);
  }

  /** Looks whether the client has taken too long; `now` as performance.now(). */
  check(now: number): void {
    for (const stream of this.#streams) stream.check(now);
  }

  /** Lets what is under way end, and takes nothing more. */
  closeIdle(): void {
    if (!this.#session.closed) this.#session.close();
  }

  cut(): void {
    this.#session.destroy();
  }

  #serve(stream: ServerHttp2Stream, headers: IncomingHttpHeaders, hasBody: boolean, raw: string[]): void {
    const downstream = new Http2Stream(stream, this.#site, hasBody, () => this.#streams.delete(downstream));
    this.#streams.add(downstream);
    const head = this.#headOf(headers, raw);
    if ('status' in head) {
      this.#site.onUnreadable(head);
      downstream.refuse(head);
      return;
    }
    if (hasBody && head.length === undefined) head.length = null;
    downstream.serve(head);
    if (this.#site.closing) this.closeIdle();
  }

  #headOf(headers: IncomingHttpHeaders, raw: string[]): RequestHead | Refusal {
    return requestHead({
      method: headers[constants.HTTP2_HEADER_METHOD] as unknown as string,
      target: (headers[constants.HTTP2_HEADER_PATH] as unknown as string | undefined) ?? '',
      version: 20,
      fields: fieldsOf(raw),
      remote: this.#remote,
      encrypted: true,
    });
  }
}

/** Node's types leave the raw headers out. */
type OnStream = (
  stream: ServerHttp2Stream,
  headers: IncomingHttpHeaders,
  flags: number,
  raw: string[],
) => void;

/** One request of an HTTP/2 connection. */
class Http2Stream implements Downstream {
  readonly #stream: ServerHttp2Stream;
  readonly #site: ClientSite;
  readonly #hasBody: boolean;
  #exchange: Exchanging | undefined;
  #reader: BodyReader | undefined;
  bodyRead: boolean;
  #awaitsContinue = false;
  #answer: AnswerHead | undefined;
  #trailers: [string, string][] = [];
  /** the client has to send, or to take, something until then */
  #deadline = Number.POSITIVE_INFINITY;

  constructor(stream: ServerHttp2Stream, site: ClientSite, hasBody: boolean, onClosed: () => void) {
    this.#stream = stream;
    this.#site = site;
    this.#hasBody = hasBody;
    this.bodyRead = !hasBody;
    stream.on('error', () => undefined);
    stream.on('drain', () => {
      this.#deadline = Number.POSITIVE_INFINITY;
      this.#exchange?.resume();
    });
    stream.on('wantTrailers', () => {
      if (this.#open) stream.sendTrailers(Object.fromEntries(this.#trailers));
    });
    stream.once('close', () => {
      onClosed();
      this.#exchange?.abandon();
      this.#exchange = undefined;
    });
  }

  get kept(): number {
    return this.#stream.readableLength;
  }

  serve(head: RequestHead): void {
    this.#awaitsContinue = head.expectsContinue && this.#hasBody;
    this.#exchange = this.#site.exchange(head, this);
    this.#exchange.start();
  }

  refuse(refusal: Refusal): void {
    const { head, body } = refusalAnswer(refusal);
    this.answer(head);
    this.write(body);
    this.end();
  }

  check(now: number): void {
    if (now < this.#deadline) return;
    const exchange = this.#exchange;
    this.#exchange = undefined;
    exchange?.abandon();
    this.#stream.close(constants.NGHTTP2_CANCEL);
  }

  readBody(reader: BodyReader): void {
    this.#reader = reader;
    if (this.#awaitsContinue) this.#stream.additionalHeaders({ [constants.HTTP2_HEADER_STATUS]: 100 });
    this.#awaitsContinue = false;
    this.#wait();
    this.#stream.on('data', (piece: Buffer) => {
      this.#wait();
      this.#reader?.onBody(piece);
    });
    this.#stream.once('end', () => {
      this.bodyRead = true;
      this.#deadline = Number.POSITIVE_INFINITY;
      this.#reader?.onBodyEnd();
    });
  }

  pauseBody(): void {
    this.#deadline = Number.POSITIVE_INFINITY;
    this.#stream.pause();
  }

  resumeBody(): void {
    this.#wait();
    this.#stream.resume();
  }

  inform(answer: AnswerHead): void {
    if (this.#open) this.#stream.additionalHeaders(headersOf(answer));
  }

  answer(answer: AnswerHead): void {
    this.#answer = answer;
  }

  flush(): void {
    const answer = this.#answer;
    this.#answer = undefined;
    if (answer === undefined || !this.#open) return;
    const { length } = answer;
    this.#stream.respond(headersOf(answer), {
      endStream: length === undefined,
      waitForTrailers: length === null,
    });
  }

  write(piece: Buffer, release?: () => void): boolean {
    this.flush();
    if (!this.#open || this.#stream.writableEnded || this.#stream.write(piece, release)) return true;
    this.#wait();
    return false;
  }

  end(trailers: [string, string][] = []): void {
    this.flush();
    this.#trailers = trailers;
    this.#exchange = undefined;
    this.#reader = undefined;
    const { bodyRead } = this;
    // the client need not send the rest
    const finish = () => bodyRead || this.#stream.close(constants.NGHTTP2_NO_ERROR);
    if (!this.#open) return;
    if (this.#stream.writableEnded) finish();
    else this.#stream.end(finish);
    this.#stream.resume();
  }

  destroy(): void {
    this.#exchange = undefined;
    this.#stream.close(constants.NGHTTP2_INTERNAL_ERROR);
  }

  /** The connection serves others. */
  close(): void {}

  get #open(): boolean {
    return !this.#stream.destroyed && !this.#stream.closed;
  }

  #wait(): void {
    this.#deadline = performance.now() + this.#site.timeouts.body;
  }
}

/** A header that comes several times is one list; Node throws where it knows that there can only be one. */
function headersOf(answer: AnswerHead): OutgoingHttpHeaders {
  const headers: Record<string, string | number | string[]> = Object.create(null);
  headers[constants.HTTP2_HEADER_STATUS] = answer.status;
  eachHeader(answer, (name, value) => {
    const lower = name.toLowerCase();
    const before = headers[lower];
    if (before === undefined) headers[lower] = value;
    else if (lower === 'set-cookie') headers[lower] = [before, value].flat().map(String);
    else headers[lower] = `${before}, ${value}`;
  });
  return headers;
}

/** The headers of a request, the host among them. */
function fieldsOf(raw: string[]): Fields {
  const pairs: [string, string][] = [];
  let authority: string | undefined;
  for (let i = 0; i + 1 < raw.length; i += 2) {
    const [name = '', value = ''] = [raw[i], raw[i + 1]];
    if (name === constants.HTTP2_HEADER_AUTHORITY) authority = value;
    else if (!name.startsWith(':')) pairs.push([name, value]);
  }
  // a Host header that says something else is one too many
  if (authority !== undefined && !pairs.some(([name, value]) => name === 'host' && value === authority))
    pairs.push(['Host', authority]);
  return {
    count: pairs.length,
    name: (index) => pairs[index]?.[0] ?? '',
    value: (index) => pairs[index]?.[1] ?? '',
  };
}
