import { randomBytes } from 'node:crypto';

const CLOSE = 8;

/**
 * Follows the frames of one direction of a WebSocket connection (RFC 6455 section 5.2) by their heads alone: payloads
 * are neither kept nor looked at, and bytes that are no frames are never an error.
 */
export class FrameFollower {
  #stage: 'first' | 'second' | 'length' | 'rest' = 'first';
  #opcode = 0;
  #masked = false;
  /** bytes of the stage that are still to come */
  #left = 0;
  #length = 0;
  #closed = false;

  /** Whether the next byte begins a frame. */
  get atBoundary(): boolean {
    return this.#stage === 'first';
  }

  /** Bytes of the present frame that are still to come, as far as its head has told; 0 at a boundary. */
  get left(): number {
    if (this.#stage === 'length') return this.#left + (this.#masked ? 4 : 0);
    return this.#stage === 'second' ? 1 : this.#left;
  }

  /** Whether a whole close frame has gone by: nothing that follows it is a frame. */
  get closed(): boolean {
    return this.#closed;
  }

  /** Goes on to the end of the bytes, or of a close frame; returns the place behind it. */
  follow(bytes: Uint8Array): number {
    let at = 0;
    while (at < bytes.length && !this.#closed) at = this.next(bytes, at);
    return at;
  }

  /** Goes on from `at` to the end of the present frame, or of the bytes; returns the place behind it. */
  next(bytes: Uint8Array, at = 0): number {
    let place = at;
    while (place < bytes.length) {
      if (this.#stage === 'rest') {
        const taken = Math.min(this.#left, bytes.length - place);
        place += taken;
        this.#left -= taken;
      } else this.#head(bytes[place++] as number);
      if (this.#stage === 'rest' && this.#left === 0) {
        this.#stage = 'first';
        this.#closed ||= this.#opcode === CLOSE;
        break;
      }
    }
    return place;
  }

  #head(byte: number): void {
    if (this.#stage === 'first') {
      this.#opcode = byte & 0x0f;
      this.#stage = 'second';
    } else if (this.#stage === 'second') {
      this.#masked = byte >= 0x80;
      this.#length = byte & 0x7f;
      if (this.#length < 126) this.#payload();
      else {
        this.#left = this.#length === 126 ? 2 : 8;
        this.#length = 0;
        this.#stage = 'length';
      }
    } else {
      this.#length = this.#length * 256 + byte;
      if (--this.#left === 0) this.#payload();
    }
  }

  #payload(): void {
    this.#stage = 'rest';
    this.#left = this.#length + (this.#masked ? 4 : 0);
  }
}

/** A close frame as a server sends it, or masked as a client must. */
export function closeFrame(code: number, { masked }: { masked: boolean }): Buffer {
  const payload = Buffer.from([code >> 8, code & 0xff]);
  if (!masked) return Buffer.concat([Buffer.from([0x80 | CLOSE, payload.length]), payload]);
  const mask = randomBytes(4);
  const hidden = payload.map((byte, i) => byte ^ (mask[i] as number));
  return Buffer.concat([Buffer.from([0x80 | CLOSE, 0x80 | payload.length]), mask, hidden]);
}
