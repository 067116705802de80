import { connect, type NetConnectOpts, type OnReadOpts, type Socket } from 'node:net';
import { LIMITS } from '../limits.ts';
import { type Head, MORE, Parser } from './llhttp.ts';
import { takeReadBuffer } from './read-buffers.ts';

/** Who asked, and is told of the answer. */
export interface Asker {
  /** `answered`: its head, or a part of it, had come */
  onBroken(error: Error, answered: boolean): void;
  /** An answer before the answer (103, say). */
  onInformed(head: Head): void;
  /** `length`: bytes of the body; undefined: none; null: its end will tell */
  onAnswer(head: Head, length: number | null | undefined): void;
  /** `release`: to be called when the piece has been written, for its memory to be used again. */
  onPiece(piece: Buffer, release?: () => void): void;
  /** all that came at once has been told */
  onCaughtUp(): void;
  onEnd(trailers: Head | undefined): void;
  /** The instance takes more of the request's body. */
  onDrain(): void;
}

export interface Address {
  host: string;
  port: number;
}

/** One HTTP/1.1 connection to an instance, which asks one thing at a time. */
export class InstanceConnection {
  /** when it became idle, as performance.now(), and how long it may stay so */
  idleSince = 0;
  idleFor: number = LIMITS.upstreamIdle;
  /** questions asked before the present one */
  used = 0;
  /** as its owner counts them */
  readonly generation: number;
  readonly #socket: Socket;
  readonly #parser = new Parser('response');
  readonly #onFree: (connection: InstanceConnection, reusable: boolean) => void;
  #asker: Asker | undefined;
  #headless = false;
  #sent = false;
  #keepAlive = false;
  /** of the answer's body, once its head has come: bytes to come; null: chunks; `close`: until the end of the connection */
  #left: number | null | 'close' | undefined;
  #answering = false;
  #destroyed = false;

  /** `onFree`: it asks nothing any more, and may be used again or not. */
  constructor(
    socket: Socket,
    generation: number,
    onFree: (connection: InstanceConnection, reusable: boolean) => void,
  ) {
    this.#socket = socket;
    this.generation = generation;
    this.#onFree = onFree;
    tolerateFailedWrites(socket);
    socket.on('end', this.#onClosed);
    socket.on('close', this.#onClosed);
    socket.on('error', this.#onError);
    socket.on('drain', this.#onDrain);
  }

  /** Asks: `head` is whole with its empty line; without a body the question ends with it. */
  ask(asker: Asker, head: string, options: { headless: boolean; hasBody: boolean }): void {
    this.#asker = asker;
    this.#headless = options.headless;
    this.#sent = !options.hasBody;
    this.#answering = false;
    this.#left = undefined;
    this.#socket.write(head, 'latin1');
  }

  /** False: no more for now. */
  writeBody(piece: Buffer | string): boolean {
    return this.#destroyed || this.#socket.write(piece as string, 'latin1');
  }

  endBody(): void {
    this.#sent = true;
  }

  pause(): void {
    this.#socket.pause();
  }

  resume(): void {
    this.#socket.resume();
  }

  /** Ends it; the asker hears no more. Idempotent. */
  destroy(): void {
    if (this.#destroyed) return;
    this.#destroyed = true;
    this.#asker = undefined;
    this.#parser.free();
    this.#socket.destroy();
    this.#onFree(this, false);
  }

  /** Takes what was read; `release` as in `Asker.onPiece`. */
  read(piece: Buffer, release?: () => void): void {
    let unread = piece;
    while (unread.length > 0 && !this.#destroyed) {
      if (this.#asker === undefined) {
        // nobody asked
        this.destroy();
        return;
      }
      const used = this.#answering ? this.#readBody(unread, release) : this.#readHead(unread);
      if (used < 0) break;
      unread = unread.subarray(used);
    }
    this.#asker?.onCaughtUp();
  }

  #readHead(unread: Buffer): number {
    const used = this.#parser.readHead(unread, LIMITS.answerHead);
    if (used === MORE) return used;
    if (used < 0) {
      this.#break(new Error('its answer is not valid HTTP/1.1'), true);
      return used;
    }
    const head = this.#parser.take();
    if (head.status < 100 || head.status > 599) {
      this.#break(new Error(`its answer has the status ${head.status}`), true);
      return MORE;
    }
    if (head.status < 200) {
      this.#parser.reset();
      if (head.status === 101) this.#break(new Error('it changed the protocol unasked'), true);
      else if (head.status !== 100) this.#asker?.onInformed(head);
      return used;
    }
    this.#answering = true;
    this.#keepAlive = head.keepAlive;
    const length = this.#lengthOf(head);
    if (length === 'broken') {
      this.#break(new Error('the length of its answer is not clear'), true);
      return MORE;
    }
    this.#left = length;
    if (length === null) this.#parser.startChunks();
    else this.#parser.reset();
    this.idleFor = idleTimeOf(head);
    this.#asker?.onAnswer(head, length === 'close' ? null : length);
    if (length === undefined || length === 0) this.#end(undefined);
    return used;
  }

  #readBody(unread: Buffer, release?: () => void): number {
    const left = this.#left;
    if (left === 'close') {
      this.#asker?.onPiece(unread, release);
      return unread.length;
    }
    if (typeof left === 'number') {
      const piece = unread.length > left ? unread.subarray(0, left) : unread;
      this.#left = left - piece.length;
      this.#asker?.onPiece(piece, release);
      if (this.#left === 0) this.#end(undefined);
      return piece.length;
    }
    const pieces: Buffer[] = [];
    const used = this.#parser.readChunks(unread, pieces);
    // written in their order: when the last one is, the others are
    for (const [i, piece] of pieces.entries())
      this.#asker?.onPiece(piece, i === pieces.length - 1 ? release : undefined);
    if (used >= 0) this.#end(this.#parser.takeTrailers());
    else if (used !== MORE) this.#break(new Error('its answer is not valid HTTP/1.1'), true);
    return used;
  }

  #lengthOf(head: Head): number | null | 'close' | 'broken' | undefined {
    let length: string | undefined;
    let coding: string | undefined;
    for (let i = 0; i < head.count; i++) {
      const name = head.name(i);
      // told apart by their lengths first: most headers are neither
      if (name.length === 14 && name.toLowerCase() === 'content-length') {
        const value = head.value(i);
        if (!LENGTH.test(value) || (length !== undefined && length !== value)) return 'broken';
        length = value;
      } else if (name.length === 17 && name.toLowerCase() === 'transfer-encoding') {
        coding = coding === undefined ? head.value(i) : `${coding}, ${head.value(i)}`;
      }
    }
    if (this.#headless || head.status === 204 || head.status === 304) return undefined;
    if (coding !== undefined) return coding.toLowerCase() === 'chunked' ? null : 'broken';
    return length === undefined ? 'close' : Number(length);
  }

  #end(trailers: Head | undefined): void {
    if (this.#destroyed) return;
    const asker = this.#asker;
    const reusable = this.#keepAlive && this.#sent && this.#left !== 'close';
    this.#asker = undefined;
    this.#answering = false;
    this.#parser.reset();
    asker?.onEnd(trailers);
    if (this.#destroyed) return;
    if (!reusable) {
      this.destroy();
      return;
    }
    this.used++;
    this.#socket.resume();
    this.#onFree(this, true);
  }

  readonly #onDrain = (): void => this.#asker?.onDrain();

  readonly #onError = (error: Error): void => this.#break(error, this.#answering || this.#parser.begun);

  readonly #onClosed = (): void => {
    if (this.#answering && this.#left === 'close') this.#end(undefined);
    else this.#break(new Error('it closed the connection'), this.#answering || this.#parser.begun);
  };

  #break(error: Error, answered: boolean): void {
    if (this.#destroyed) return;
    const asker = this.#asker;
    this.destroy();
    asker?.onBroken(error, answered);
  }
}

/**
 * Opens a connection (`onConnected`, `onFailed`: one of them, once); returns the way to give up. Where no answer comes it
 * dials anew, after some `LIMITS.redial` ms at first: a listener whose backlog is full drops what arrives, and the kernel
 * would send it again only after a second.
 */
export function openConnection(
  { host, port }: Address,
  onConnected: (socket: Socket) => void,
  onFailed: (error: Error) => void,
  onread?: OnReadOpts,
): () => void {
  const options: NetConnectOpts & { highWaterMark: number } = {
    host,
    port,
    noDelay: true,
    keepAlive: true,
    autoSelectFamily: false,
    // Node's types do not know it yet
    highWaterMark: LIMITS.buffered,
    ...(onread && { onread }),
  };
  let giveUp: () => void;
  const dial = (patience: number) => {
    const socket = connect(options);
    const fail = (error: Error) => {
      stop();
      onFailed(error);
    };
    const succeed = () => {
      clearTimeout(timer);
      socket.off('error', fail);
      onConnected(socket);
    };
    const stop = () => {
      clearTimeout(timer);
      socket
        .off('error', fail)
        .off('connect', succeed)
        .on('error', () => undefined);
    };
    giveUp = () => {
      stop();
      socket.destroy();
    };
    // spread, so that processes which were dropped together do not come again together
    const timer = setTimeout(
      () => {
        // after a halt of this process the answer may be there, unread
        setImmediate(() => {
          if (!socket.connecting) return;
          giveUp();
          dial(patience * 2);
        });
      },
      patience * (0.5 + Math.random()),
    );
    socket.once('error', fail);
    socket.once('connect', succeed);
  };
  dial(LIMITS.redial);
  return () => giveUp();
}

/** The same for HTTP/1.1; see the constructor of `InstanceConnection`. */
export function openInstanceConnection(
  address: Address,
  generation: number,
  onFree: (connection: InstanceConnection, reusable: boolean) => void,
  onConnected: (connection: InstanceConnection) => void,
  onFailed: (error: Error) => void,
): () => void {
  let connection: InstanceConnection | undefined;
  let buffer = takeReadBuffer();
  let given = false;
  const read = (length: number): boolean => {
    const { bytes, release } = buffer;
    given = length > LIMITS.copied;
    if (given) connection?.read(bytes.subarray(0, length), release);
    else connection?.read(Buffer.from(bytes.subarray(0, length)));
    return true;
  };
  const next = (): Buffer => {
    if (given) buffer = takeReadBuffer();
    given = false;
    return buffer.bytes;
  };
  return openConnection(
    address,
    (socket) => {
      socket.once('close', () => given || buffer.release());
      connection = new InstanceConnection(socket, generation, onFree);
      onConnected(connection);
    },
    onFailed,
    { buffer: next, callback: read },
  );
}

/** How long an idle connection may be kept: less than the instance says, and less than the smallest servers do. */
function idleTimeOf(head: Head): number {
  for (let i = 0; i < head.count; i++) {
    const name = head.name(i);
    if (name.length !== 10 || name.toLowerCase() !== 'keep-alive') continue;
    const announced = /timeout=(\d+)/i.exec(head.value(i));
    if (announced)
      return Math.min(Math.max(0, Number(announced[1]) * 1000 - 1000), LIMITS.upstreamIdleAnnounced);
  }
  return LIMITS.upstreamIdle;
}

/**
 * A failed write is not the end: an instance that answers 413 and closes while the upload is still arriving resets the
 * connection, and the next write fails before its answer has been read. What is written after that goes nowhere;
 * reading goes on to the answer, or to the reset.
 */
function tolerateFailedWrites(socket: Socket): void {
  const { _write, _writev } = socket;
  socket._write = (piece, encoding, done) => _write.call(socket, piece, encoding, unlessClosed(done));
  if (_writev) socket._writev = (pieces, done) => _writev.call(socket, pieces, unlessClosed(done));
}

type Done = (error?: Error | null) => void;

function unlessClosed(done: Done): Done {
  return (error) => {
    const { code } = (error ?? {}) as NodeJS.ErrnoException;
    if (code === 'EPIPE' || code === 'ECONNRESET') done();
    else done(error);
  };
}

const LENGTH = /^\d{1,15}$/;
