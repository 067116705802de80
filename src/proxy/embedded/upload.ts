import type { IncomingMessage, ServerResponse } from 'node:http';
import { Readable } from 'node:stream';
import { LIMITS } from './limits.ts';

/**
 * The body of a client's request on its way to an instance. Destroying it leaves the request itself alone: undici
 * destroys a body whose answer came early, and with the request the client's connection and that answer would go too.
 */
export class Upload extends Readable {
  readonly #req: IncomingMessage;
  readonly #onProgress: () => void;
  #begin: (() => void) | undefined;

  /** `begin` is called when the body is first asked for, `onProgress` at every piece and at the end. */
  constructor(req: IncomingMessage, begin: () => void, onProgress: () => void) {
    super({ highWaterMark: 65_536 });
    this.#req = req;
    this.#begin = begin;
    this.#onProgress = onProgress;
  }

  override _read(): void {
    if (this.#begin) {
      const begin = this.#begin;
      this.#begin = undefined;
      this.#req.on('data', this.#onData).on('end', this.#onEnd);
      begin();
    }
    this.#req.resume();
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    this.#req.off('data', this.#onData).off('end', this.#onEnd);
    this.#req.pause();
    done(error);
  }

  readonly #onData = (piece: Buffer): void => {
    this.#onProgress();
    if (!this.push(piece)) this.#req.pause();
  };

  readonly #onEnd = (): void => {
    this.#onProgress();
    this.push(null);
  };
}

/**
 * Ends an answer that came before the upload was complete. What is left of the upload is read and thrown away: closing
 * the connection on it would reset it, and the client might never see the answer.
 */
export function endEarly(req: IncomingMessage, res: ServerResponse): void {
  // the end of an answer that closes the connection closes it at once: it has to wait for the upload
  const closes = !res.shouldKeepAlive;
  if (closes) res.flushHeaders();
  else res.end();
  const finish = () => {
    clearTimeout(timer);
    req.off('end', finish).off('close', finish);
    if (closes) res.end();
    if (!req.complete) req.socket.destroySoon();
  };
  const timer = setTimeout(finish, LIMITS.linger);
  req.once('end', finish).once('close', finish);
  // not now: the upload that read from it is about to be destroyed, and pauses it then
  setImmediate(() => req.resume());
}
