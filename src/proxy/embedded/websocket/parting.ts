import type { Socket } from 'node:net';
import { Duplex } from 'node:stream';
import { closeFrame, FrameFollower } from './frames.ts';

/** ms from `goAway` to the end of the client's connection, whatever the client does */
const CLIENT_DEADLINE = 5_000;
/** ms from there to the end of the instance's */
const INSTANCE_DEADLINE = 1_000;

/**
 * A client's socket after its upgrade to a WebSocket, which can be told to go. What is written to it goes to the client,
 * what the client sends is read from it, with backpressure both ways. When the client's connection ends, it is destroyed.
 */
export class PartingSocket extends Duplex {
  readonly #client: Socket;
  readonly #sent = new FrameFollower();
  readonly #received = new FrameFollower();
  /** the answer to the upgrade has been written: what follows are frames */
  #opened = false;
  /** the close code, once it was told to go */
  #code: number | undefined;
  /** nothing more of the instance reaches the client */
  #said = false;
  #readEnded = false;
  #instanceGone = false;
  #deadline: NodeJS.Timeout | undefined;

  /** `client`: not read from yet. */
  constructor(client: Socket) {
    // the client's socket says when it is over, also for the sake of a close frame that still is to be flushed
    super({ autoDestroy: false });
    this.#client = client;
    client.pause();
    client.on('data', (bytes: Buffer) => this.#take(bytes));
    client.once('end', () => (this.#leaving ? this.#part() : this.#endRead()));
    client.once('close', () => this.#clientClosed());
    // that a client has gone is noticed only by reading, also before its upgrade is answered
    this.read(0);
  }

  /** The answer to the upgrade has been written, whole. */
  open(): void {
    this.#opened = true;
    if (this.#leaving) this.#leave();
  }

  /**
   * Ends the connection as a server does that goes away: a close frame to the client at the next boundary of a frame,
   * nothing after it, and the client's own close frame, or one in its place, to the instance. Before the upgrade is
   * answered, as soon as it is. A client that has not gone after 5 s is cut off.
   */
  goAway(code = 1001): void {
    if (this.#code !== undefined || this.destroyed) return;
    this.#code = code;
    if (this.#leaving) this.#leave();
  }

  /** The instance's side has ended: ends the client's when it has taken everything. */
  destroySoon(): void {
    this.#instanceGone = true;
    if (this.#leaving) {
      if (!this.#said) this.#client.end();
      this.#said = true;
      this.#client.resume();
      if (this.#client.closed) this.destroy();
    } else this.end(() => this.#leaving || this.destroy());
  }

  setTimeout(milliseconds: number): this {
    this.#client.setTimeout(milliseconds);
    return this;
  }

  setNoDelay(on: boolean): this {
    this.#client.setNoDelay(on);
    return this;
  }

  setKeepAlive(on: boolean, delay: number): this {
    this.#client.setKeepAlive(on, delay);
    return this;
  }

  override _read(): void {
    this.#client.resume();
  }

  override _write(bytes: Buffer, _encoding: BufferEncoding, done: () => void): void {
    if (this.#said) {
      done();
      return;
    }
    let passed = bytes;
    if (this.#leaving) passed = bytes.subarray(0, this.#sent.next(bytes));
    else if (this.#opened) this.#sent.follow(bytes);
    // an error of the client's ends in its 'close'
    this.#client.write(passed, () => done());
    if (this.#leaving) this.#say();
  }

  override _final(done: () => void): void {
    if (this.#leaving) done();
    else this.#client.end(() => done());
  }

  override _destroy(error: Error | null, done: (error: Error | null) => void): void {
    clearTimeout(this.#deadline);
    this.#client.destroy();
    done(error);
  }

  get #leaving(): boolean {
    return this.#opened && this.#code !== undefined;
  }

  #leave(): void {
    this.#deadline = setTimeout(() => this.#client.destroy(), CLIENT_DEADLINE);
    this.#say();
  }

  /** Says goodbye if a frame of the instance is not in the way, and if nobody has. */
  #say(): void {
    if (this.#said || !this.#sent.atBoundary) return;
    this.#said = true;
    if (!this.#sent.closed && !this.#client.writableEnded) this.#client.write(this.#goodbye(false));
    this.#answered();
  }

  #take(bytes: Buffer): void {
    const end = this.#received.follow(bytes);
    const ignored = this.#readEnded || this.#instanceGone;
    if (!ignored && !this.push(this.#leaving ? bytes.subarray(0, end) : bytes)) this.#client.pause();
    this.#answered();
  }

  /** Parts from a client that has said goodbye, or cannot any more. */
  #answered(): void {
    if (this.#leaving && this.#said && (this.#received.closed || this.#readEnded)) this.#part();
  }

  #part(): void {
    this.#said = true;
    if (!this.#readEnded && !this.#received.closed && this.#received.atBoundary)
      this.push(this.#goodbye(true));
    this.#endRead();
    this.#client.end();
    // whatever still comes is in the way of its end
    this.#client.resume();
  }

  #endRead(): void {
    if (this.#readEnded) return;
    this.#readEnded = true;
    this.push(null);
  }

  #clientClosed(): void {
    if (!this.#leaving || this.destroyed) {
      this.destroy();
      return;
    }
    this.#part();
    clearTimeout(this.#deadline);
    if (this.#instanceGone) this.destroy();
    else this.#deadline = setTimeout(() => this.destroy(), INSTANCE_DEADLINE);
  }

  #goodbye(masked: boolean): Buffer {
    return closeFrame(this.#code ?? 1001, { masked });
  }
}
