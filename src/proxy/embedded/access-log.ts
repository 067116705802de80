import { createWriteStream } from 'node:fs';

/** What is written of a request that has ended. */
export interface Access {
  id: string;
  method: string;
  host: string;
  path: string;
  /** 0: none was sent */
  status: number;
  /** from the head of the request to the end of the answer */
  seconds: number;
  /** bytes of the bodies */
  received: number;
  sent: number;
  instance: string | undefined;
  revision: number | undefined;
  /** instances that were asked */
  attempts: number;
  /** how it ended, other than with the end of its answer */
  end: string | undefined;
}

/** Appends JSON lines to a file; lines that the disk does not take in time are left out, never waited for. */
export class AccessLog {
  readonly #file: string;
  readonly #onError: (error: Error) => void;
  #stream: ReturnType<typeof createWriteStream> | undefined;
  #lines = '';
  #timer: NodeJS.Timeout | undefined;

  constructor(file: string, onError: (error: Error) => void) {
    this.#file = file;
    this.#onError = onError;
  }

  write(service: string, access: Access): void {
    const { seconds, ...rest } = access;
    const line = { time: new Date().toISOString(), service, ...rest, ms: Math.round(seconds * 1e5) / 100 };
    this.#lines += `${JSON.stringify(line)}\n`;
    if (this.#lines.length >= BATCH) this.#flush();
    else this.#timer ??= setTimeout(() => this.#flush(), BATCH_MS);
  }

  close(): void {
    this.#flush();
    this.#stream?.end();
    this.#stream = undefined;
  }

  #flush(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    const lines = this.#lines;
    this.#lines = '';
    if (lines === '' || (this.#stream?.writableLength ?? 0) > MOST_WAITING) return;
    this.#open().write(lines);
  }

  /** Opened for appending: whoever rotates it may truncate it, and several processes may share it. */
  #open(): ReturnType<typeof createWriteStream> {
    if (this.#stream) return this.#stream;
    const stream = createWriteStream(this.#file, { flags: 'a', mode: 0o600 });
    stream.on('error', (error) => {
      if (this.#stream === stream) this.#stream = undefined;
      this.#onError(error);
    });
    this.#stream = stream;
    return stream;
  }
}

const BATCH = 65_536;
const BATCH_MS = 200;
const MOST_WAITING = 4 << 20;
