import { STATUS_CODES } from 'node:http';
import type { Socket } from 'node:net';
import type { AnswerHead, BodyReader, Downstream, Exchanging } from '../downstream.ts';
import { eachHeader, type RequestHead, requestHead } from '../headers.ts';
import { LIMITS } from '../limits.ts';
import { type Refusal, refusalText } from '../refusal.ts';
import { BROKEN, type Head, Parser, TOO_LARGE } from './llhttp.ts';

/** What takes the requests of connections, and how long clients may take over what is awaited of them. */
export interface ClientSite {
  /** bytes of a request's head */
  readonly longestHead: number;
  /** milliseconds */
  readonly timeouts: { readonly head: number; readonly body: number; readonly idle: number };
  /** no more requests on connections: the listener is going away */
  readonly closing: boolean;
  exchange(head: RequestHead, downstream: Downstream): Exchanging;
  /** Takes a WebSocket's connection over, with what was read beyond its request. */
  upgrade(head: RequestHead, socket: Socket, ahead: Buffer): void;
  /** A request could not be read, and is answered with this. */
  onUnreadable(refusal: Refusal): void;
  /** The connection has ended, or was taken over. */
  onLeft(connection: Connection): void;
}

/** A client's connection, as its listener looks after it. */
export interface Connection {
  /** Looks whether the client has taken too long; `now` as performance.now(). */
  check(now: number): void;
  /** Closes it as soon as no request is served on it. */
  closeIdle(): void;
  cut(): void;
}

/** One HTTP/1 connection of a client: requests that were sent ahead are served in their turn. */
export class ClientConnection implements Connection, Downstream {
  readonly #socket: Socket;
  readonly #site: ClientSite;
  readonly #remote: string;
  readonly #encrypted: boolean;
  readonly #parser = new Parser('request');
  /** read, and not used yet */
  #unread: Buffer | undefined;
  #consuming = false;
  #flowing = true;
  /** since there will be no further request, and the last answer has been sent */
  #ending = false;
  #gone = false;
  #awaits: keyof typeof LATE | 'nothing' = 'request';
  #deadline: number;

  // the request that is being served
  #exchange: Exchanging | undefined;
  #version = 11;
  #keepAlive = true;
  /** bytes of the body to come; null: its end will tell; undefined: none */
  #bodyLeft: number | null | undefined;
  #awaitsContinue = false;
  #reader: BodyReader | undefined;
  #bodyPaused = false;
  /** the answer came before the end of the body, and what is left of it is thrown away */
  #discards = false;

  // its answer
  #head = '';
  #answered = false;
  #hasBody = false;
  #chunked = false;
  #blocked = false;

  constructor(socket: Socket, site: ClientSite, encrypted = false) {
    this.#socket = socket;
    this.#site = site;
    this.#encrypted = encrypted;
    this.#remote = addressOf(socket);
    this.#deadline = performance.now() + site.timeouts.idle;
    socket.on('data', this.#onData);
    socket.on('drain', this.#onDrain);
    socket.on('end', this.#onGone);
    socket.on('close', this.#onGone);
    socket.on('error', ignore);
  }

  get bodyRead(): boolean {
    return this.#bodyLeft === undefined;
  }

  get kept(): number {
    return this.#unread?.length ?? 0;
  }

  check(now: number): void {
    if (this.#awaits === 'nothing' || now < this.#deadline || this.#gone) return;
    const late = LATE[this.#awaits];
    if (late !== undefined) this.#fail(late);
    else if (this.#awaits === 'request') this.#end();
    else this.#socket.destroy();
  }

  closeIdle(): void {
    if (this.#exchange === undefined && !this.#parser.begun && !this.#discards) this.#end();
  }

  cut(): void {
    this.#socket.destroy();
  }

  readBody(reader: BodyReader): void {
    this.#reader = reader;
    if (this.#awaitsContinue && this.#unread === undefined) this.#socket.write(CONTINUE, 'latin1');
    this.#awaitsContinue = false;
    this.#readOn();
  }

  pauseBody(): void {
    this.#bodyPaused = true;
    this.#await('nothing', 0);
    this.#flow();
  }

  resumeBody(): void {
    this.#bodyPaused = false;
    this.#readOn();
  }

  inform(answer: AnswerHead): void {
    if (this.#version > 10 && !this.#gone) this.#socket.write(`${headText(answer)}\r\n`, 'latin1');
  }

  answer(answer: AnswerHead): void {
    const { length } = answer;
    this.#answered = true;
    this.#hasBody = length !== undefined;
    this.#chunked = length === null && this.#version > 10;
    // nobody knows whether a body will follow that was not asked for
    if (this.#awaitsContinue || this.#site.closing || (length === null && !this.#chunked))
      this.#keepAlive = false;
    let head = headText(answer);
    if (this.#chunked) head += 'Transfer-Encoding: chunked\r\n';
    if (!this.#keepAlive) head += 'Connection: close\r\n';
    else if (this.#version === 10) head += 'Connection: keep-alive\r\n';
    this.#head = `${head}\r\n`;
  }

  flush(): void {
    if (this.#head === '' || this.#gone) return;
    this.#socket.write(this.#head, 'latin1');
    this.#head = '';
  }

  write(piece: Buffer, release?: () => void): boolean {
    if (this.#gone || !this.#hasBody || piece.length === 0) return true;
    const taken = this.#chunked
      ? writeParts(this.#socket, `${this.#head}${piece.length.toString(16)}\r\n`, piece, '\r\n', release)
      : writeParts(this.#socket, this.#head, piece, '', release);
    this.#head = '';
    if (!taken) {
      this.#blocked = true;
      this.#await('reading', this.#site.timeouts.body);
    }
    return taken;
  }

  end(trailers: [string, string][] = []): void {
    if (this.#gone) return;
    let rest = this.#head;
    if (this.#chunked) {
      for (const [name, value] of trailers)
        rest += `${rest === this.#head ? '0\r\n' : ''}${name}: ${value}\r\n`;
      rest += rest === this.#head ? '0\r\n\r\n' : '\r\n';
    }
    this.#head = '';
    if (rest !== '') this.#socket.write(rest, 'latin1');
    this.#exchange = undefined;
    this.#reader = undefined;
    if (this.#bodyLeft === undefined) this.#next();
    else this.#discardBody();
  }

  destroy(): void {
    this.#exchange = undefined;
    this.#socket.destroy();
  }

  close(): void {
    this.#keepAlive = false;
  }

  readonly #onData = (piece: Buffer): void => {
    this.#unread = this.#unread === undefined ? piece : Buffer.concat([this.#unread, piece]);
    this.#consume();
  };

  readonly #onDrain = (): void => {
    if (!this.#blocked) return;
    this.#blocked = false;
    if (this.#awaits === 'reading') this.#await('nothing', 0);
    this.#exchange?.resume();
  };

  /** A client that closes its side while it is owed an answer has gone. */
  readonly #onGone = (): void => {
    if (this.#gone) return;
    this.#gone = true;
    this.#parser.free();
    this.#site.onLeft(this);
    const exchange = this.#exchange;
    this.#exchange = undefined;
    exchange?.abandon();
    if (exchange || this.#ending) this.#socket.destroy();
  };

  /** Uses what was read, for as long as somebody is ready for it. */
  #consume(): void {
    if (this.#consuming) return;
    this.#consuming = true;
    while (this.#unread !== undefined && !this.#gone && this.#use(this.#unread));
    this.#consuming = false;
    this.#flow();
  }

  /** Whether it makes sense to look at once whether there is more to use. */
  #use(unread: Buffer): boolean {
    if (this.#ending) {
      this.#unread = undefined;
      return false;
    }
    if (this.#exchange === undefined && !this.#discards) return this.#useForHead(unread);
    if (this.#bodyLeft === undefined || this.#bodyPaused) return false;
    if (this.#reader === undefined && !this.#discards) return false;
    return this.#useForBody(unread, this.#bodyLeft);
  }

  #useForHead(unread: Buffer): boolean {
    const used = this.#parser.readHead(unread, this.#site.longestHead);
    this.#advance(unread, used);
    if (used >= 0) {
      this.#begin(this.#parser.take());
      return true;
    }
    if (used === TOO_LARGE) this.#fail(badRequest(431, `the header is over ${this.#site.longestHead} bytes`));
    else if (used === BROKEN) this.#fail(badRequest(400, 'the request is not valid HTTP/1.1'));
    else if (this.#awaits !== 'head') this.#await('head', this.#site.timeouts.head);
    return false;
  }

  #begin(text: Head): void {
    this.#await('nothing', 0);
    this.#answered = false;
    this.#version = text.version;
    const head = this.#headOf(text);
    if ('status' in head) {
      this.#fail(head);
      return;
    }
    this.#bodyLeft = head.length === 0 ? undefined : head.length;
    this.#awaitsContinue = head.expectsContinue && this.#bodyLeft !== undefined && this.#version > 10;
    this.#keepAlive = text.keepAlive;
    if (head.webSocket && this.#bodyLeft === undefined) {
      this.#handOver(head);
      return;
    }
    if (this.#bodyLeft === null) this.#parser.startChunks();
    else this.#parser.reset();
    this.#exchange = this.#site.exchange(head, this);
    this.#exchange.start();
  }

  #headOf(text: Head): RequestHead | Refusal {
    const { version } = text;
    if (version !== 11 && version !== 10) return badRequest(505, 'only HTTP/1.1, 1.0 and 2 are served');
    return requestHead({
      method: text.method,
      target: text.line,
      version,
      fields: text,
      remote: this.#remote,
      encrypted: this.#encrypted,
    });
  }

  #useForBody(unread: Buffer, left: number | null): boolean {
    const pieces: Buffer[] = [];
    let used: number;
    let ended: boolean;
    if (left === null) {
      used = this.#parser.readChunks(unread, pieces);
      ended = used >= 0;
    } else {
      used = Math.min(left, unread.length);
      pieces.push(used < unread.length ? unread.subarray(0, used) : unread);
      ended = used === left;
      this.#bodyLeft = left - used;
    }
    this.#advance(unread, used);
    if (used === BROKEN) {
      this.#fail(badRequest(400, 'the body is not valid HTTP/1.1'));
      return false;
    }
    if (this.#awaits === 'body') this.#await('body', this.#site.timeouts.body);
    for (const piece of pieces) this.#reader?.onBody(piece);
    if (ended) this.#endBody();
    return true;
  }

  #endBody(): void {
    this.#bodyLeft = undefined;
    this.#parser.reset();
    if (this.#awaits === 'body') this.#await('nothing', 0);
    const reader = this.#reader;
    this.#reader = undefined;
    if (this.#discards) {
      this.#discards = false;
      this.#next();
    } else reader?.onBodyEnd();
  }

  #advance(unread: Buffer, used: number): void {
    this.#unread = used >= 0 && used < unread.length ? unread.subarray(used) : undefined;
  }

  #readOn(): void {
    if (this.#bodyLeft !== undefined) this.#await('body', this.#site.timeouts.body);
    this.#consume();
  }

  /**
   * The answer came before the end of the request. What is left of it is read and thrown away: closing the connection
   * on it would reset it, and the client might never see the answer.
   */
  #discardBody(): void {
    this.#bodyPaused = false;
    if (this.#keepAlive) {
      this.#discards = true;
      this.#await('close', LIMITS.linger);
      this.#consume();
    } else this.#end(LIMITS.linger);
  }

  #next(): void {
    this.#parser.reset();
    if (!this.#keepAlive) {
      this.#end();
      return;
    }
    this.#await('request', this.#site.timeouts.idle);
    this.#consume();
  }

  /** No more requests: what was written goes out, and the client has some time to take it and to close. */
  #end(within: number = LIMITS.closing): void {
    if (this.#ending || this.#gone) return;
    this.#ending = true;
    this.#await('close', within);
    this.#socket.end();
    this.#unread = undefined;
    this.#flow();
  }

  /** Answers what cannot be served, and ends. */
  #fail(refusal: Refusal): void {
    const exchange = this.#exchange;
    const silent = exchange !== undefined && this.#answered;
    this.#exchange = undefined;
    this.#reader = undefined;
    exchange?.abandon();
    this.#site.onUnreadable(refusal);
    if (silent) {
      this.#socket.destroy();
      return;
    }
    this.#ending = true;
    this.#await('close', LIMITS.closing);
    this.#socket.end(refusalText(refusal));
  }

  #handOver(head: RequestHead): void {
    const ahead = this.#unread ?? Buffer.alloc(0);
    this.#gone = true;
    this.#parser.free();
    this.#socket.off('data', this.#onData).off('drain', this.#onDrain).off('error', ignore);
    this.#socket.off('end', this.#onGone).off('close', this.#onGone);
    this.#site.onLeft(this);
    this.#site.upgrade(head, this.#socket, ahead);
  }

  /** What nobody is ready for is kept up to a bound; then the client has to wait. */
  #flow(): void {
    const flowing = !this.#bodyPaused && (this.#unread?.length ?? 0) < LIMITS.ahead;
    if (flowing === this.#flowing || this.#gone) return;
    this.#flowing = flowing;
    if (flowing) this.#socket.resume();
    else this.#socket.pause();
  }

  #await(what: keyof typeof LATE | 'nothing', within: number): void {
    this.#awaits = what;
    if (what !== 'nothing') this.#deadline = performance.now() + within;
  }
}

/** The address of a connection's client; IPv4 clients of an IPv6 listener by their own. */
export function addressOf(socket: Socket): string {
  return socket.remoteAddress?.replace(/^::ffff:(?=\d+\.)/, '') ?? 'unknown';
}

function headText(answer: AnswerHead): string {
  let text = `HTTP/1.1 ${answer.status} ${answer.reason || (STATUS_CODES[answer.status] ?? '')}\r\n`;
  eachHeader(answer, (name, value) => {
    text += `${name}: ${value}\r\n`;
  });
  return text;
}

/** Writes as few times as makes sense: what is small is copied together, which costs less than another write. */
function writeParts(
  socket: Socket,
  before: string,
  piece: Buffer,
  after: string,
  release: (() => void) | undefined,
): boolean {
  if (before === '' && after === '') return socket.write(piece, release);
  const size = before.length + piece.length + after.length;
  if (size <= LIMITS.copied) {
    const whole = Buffer.allocUnsafe(size);
    whole.write(before, 0, 'latin1');
    piece.copy(whole, before.length);
    whole.write(after, before.length + piece.length, 'latin1');
    release?.();
    return socket.write(whole);
  }
  socket.cork();
  if (before !== '') socket.write(before, 'latin1');
  let taken = socket.write(piece, release);
  if (after !== '') taken = socket.write(after, 'latin1');
  socket.uncork();
  return taken;
}

function badRequest(status: number, message: string): Refusal {
  return { status, reason: 'bad-request', message };
}

function ignore(): void {}

/** What a client is told that takes too long; undefined: nothing. */
const LATE: Record<'request' | 'head' | 'body' | 'reading' | 'close', Refusal | undefined> = {
  request: undefined,
  head: badRequest(408, 'the request came too slowly'),
  body: badRequest(408, 'the body came too slowly'),
  reading: undefined,
  close: undefined,
};
const CONTINUE = 'HTTP/1.1 100 Continue\r\n\r\n';
