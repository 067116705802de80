import { connect, type Socket } from 'node:net';
import { performance } from 'node:perf_hooks';
import { Answer } from './answer.ts';
import { Books, type Failure, type Ledger } from './ledger.ts';
import type { Load } from './load.ts';
import { pacer } from './pace.ts';

export interface BareLoadOptions {
  url: string;
  /** closed loops, each of which sends its next request when its last has been answered */
  connections: number;
  /** a new connection for every request, sent with Connection: close and read to the end */
  fresh?: boolean;
  /** body bytes of a right answer; any number otherwise */
  bytes?: number;
  /** requests a second, all connections together; as many as come back otherwise */
  rate?: number;
  /** the load ends by itself after so many requests; with `stop` otherwise */
  requests?: number;
  /** milliseconds for a whole answer, the connection included; 30 s otherwise */
  timeout?: number;
}

export interface BareLoad extends Load {
  /** Resolves when the load has ended. */
  ended: Promise<Ledger>;
}

/**
 * A load of GETs over bare sockets: cheap enough for hundreds of connections from one process. As strict as `startLoad`:
 * nothing is retried, nothing left out, and what the connection brings besides the answer is wrong.
 */
export function startBareLoad(options: BareLoadOptions): BareLoad {
  const round = new Round(options);
  const loops = Array.from({ length: options.connections }, () => new Loop(round));
  const timeout = options.timeout ?? 30_000;
  const watch = setInterval(() => {
    for (const loop of loops) loop.expire(timeout);
  }, timeout / 10);
  const ended = Promise.all(loops.map((loop) => loop.run())).then(() => {
    clearInterval(watch);
    return round.books.ledger;
  });
  return {
    ended,
    get ledger() {
      return round.books.ledger;
    },
    stop() {
      round.stop();
      return ended;
    },
  };
}

/** What the loops of one load have in common. */
class Round {
  readonly books = new Books();
  readonly request: string;
  readonly host: string;
  readonly port: number;
  readonly fresh: boolean;
  readonly bytes: number | undefined;
  readonly pace: (() => Promise<void>) | undefined;
  #left: number;

  constructor({ url, fresh = false, bytes, rate, requests = Number.POSITIVE_INFINITY }: BareLoadOptions) {
    const { hostname, port, host, pathname, search } = new URL(url);
    this.request = `GET ${pathname}${search} HTTP/1.1\r\nHost: ${host}\r\n${fresh ? 'Connection: close\r\n' : ''}\r\n`;
    this.host = hostname;
    this.port = Number(port || 80);
    this.fresh = fresh;
    this.bytes = bytes;
    this.pace = rate === undefined ? undefined : pacer(rate);
    this.#left = requests;
  }

  /** Whether another request is to be sent. */
  next(): boolean {
    if (this.#left <= 0) return false;
    this.#left--;
    this.books.sent();
    return true;
  }

  stop(): void {
    this.#left = 0;
  }
}

class Loop {
  readonly #round: Round;
  #socket: Socket | undefined;
  #answer = new Answer();
  #begun = 0;
  #waiting = false;
  /** the answer is whole; the server has still to close */
  #answered = false;
  #done: () => void = () => undefined;

  constructor(round: Round) {
    this.#round = round;
  }

  run(): Promise<void> {
    return new Promise((resolve) => {
      this.#done = resolve;
      this.#onward();
    });
  }

  /** Gives up a request that has taken longer than `timeout` milliseconds. */
  expire(timeout: number): void {
    if (this.#waiting && performance.now() - this.#begun > timeout)
      this.#fail('timeout', this.#answered ? 'the connection was not closed' : 'no whole answer');
  }

  /** To the next request, when it is due. */
  #onward(): void {
    if (this.#round.pace) void this.#round.pace().then(() => this.#next());
    else this.#next();
  }

  #next(): void {
    if (!this.#round.next()) {
      this.#drop();
      this.#done();
      return;
    }
    this.#answer = new Answer();
    this.#answered = false;
    this.#waiting = true;
    this.#begun = performance.now();
    this.#socket ??= this.#connect();
    this.#socket.write(this.#round.request);
  }

  #connect(): Socket {
    const socket = connect({
      host: this.#round.host,
      port: this.#round.port,
      noDelay: true,
      onread: {
        buffer: READ,
        callback: (count) => {
          if (socket === this.#socket) this.#read(READ.subarray(0, count));
          return true;
        },
      },
    });
    let error: Error | undefined;
    socket.on('error', (cause) => {
      error = cause;
    });
    socket.on('close', () => {
      if (socket === this.#socket) this.#closed(error);
    });
    return socket;
  }

  #read(piece: Buffer): void {
    // nothing was asked: the server's word that it closes, at best
    if (!this.#waiting) this.#drop();
    else if (this.#take(piece)) this.#whole();
  }

  #take(piece: Buffer): boolean {
    try {
      return this.#answer.push(piece);
    } catch (error) {
      this.#fail('wrong', (error as Error).message);
      return false;
    }
  }

  #whole(): void {
    if (this.#round.fresh || this.#answer.head?.closes) this.#answered = true;
    else this.#judge();
  }

  #closed(error: Error | undefined): void {
    this.#socket = undefined;
    if (!this.#waiting) return;
    if (this.#answered || (!error && this.#answer.wholeAtEnd)) this.#judge();
    else
      this.#fail(
        this.#answer.begun ? 'truncated' : 'connection',
        error?.message ?? 'the connection has ended',
      );
  }

  #judge(): void {
    const { head, bytes } = this.#answer;
    const wanted = this.#round.bytes ?? bytes;
    if (!head || head.status > 299) this.#fail('status', `${head?.status}`);
    else if (bytes !== wanted) this.#fail('wrong', `${bytes} bytes instead of ${wanted}`);
    else {
      this.#round.books.ok(this.#begun, head.revision);
      this.#waiting = false;
      this.#onward();
    }
  }

  #fail(kind: Failure['kind'], cause: string): void {
    this.#round.books.failed({ kind, cause });
    this.#waiting = false;
    this.#drop();
    // a server that refuses connections would be called many thousand times a second
    setTimeout(() => this.#next(), 5);
  }

  #drop(): void {
    const socket = this.#socket;
    this.#socket = undefined;
    socket?.destroy();
  }
}

/** Node reads into one buffer for all: what is not understood at once is copied. */
const READ = Buffer.allocUnsafe(65_536);
