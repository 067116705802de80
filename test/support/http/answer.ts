/** The head of an answer to a GET, as far as a counting client has to know it. */
interface Head {
  status: number;
  /** body bytes, if the head tells */
  length: number | undefined;
  chunked: boolean;
  /** the server will use the connection no more */
  closes: boolean;
  revision: string | undefined;
}

/** What has come of one answer to a GET, strictly: what is not whole is not an answer. Rubbish throws. */
export class Answer {
  head: Head | undefined;
  /** body bytes that have come */
  bytes = 0;
  #pending: Buffer | undefined;
  /** body or chunk bytes still to come */
  #left = 0;
  #at: 'head' | 'body' | 'chunk' | 'after-chunk' | 'size' | 'trailer' | 'rest' | 'end' = 'head';

  /** Whether anything has come. */
  get begun(): boolean {
    return this.#at !== 'head' || this.#pending !== undefined;
  }

  /** Takes what the connection brought; true: the answer is whole. */
  push(piece: Buffer): boolean {
    let bytes = this.#pending ? Buffer.concat([this.#pending, piece]) : piece;
    this.#pending = undefined;
    while (bytes.length > 0) {
      if (this.#at === 'end') throw new Error(`${bytes.length} bytes after the end of the answer`);
      const taken = this.#take(bytes);
      if (taken === 0) {
        // the connection's buffer is used again for the next piece
        this.#pending = Buffer.from(bytes);
        return false;
      }
      bytes = bytes.subarray(taken);
    }
    return this.#at === 'end';
  }

  /** Whether the answer is whole if the connection ends now. */
  get wholeAtEnd(): boolean {
    return this.#at === 'rest';
  }

  /** The number of bytes that could be understood; 0: more must come first. */
  #take(bytes: Buffer): number {
    switch (this.#at) {
      case 'head':
        return this.#takeHead(bytes);
      case 'rest':
        this.bytes += bytes.length;
        return bytes.length;
      case 'body':
      case 'chunk':
        return this.#takeBody(bytes);
      default:
        return this.#takeLine(bytes);
    }
  }

  #takeHead(bytes: Buffer): number {
    const end = bytes.indexOf('\r\n\r\n');
    if (end < 0) return 0;
    const head = parse(bytes.toString('latin1', 0, end + 2));
    // 100 and 103 are followed by the answer itself
    if (head.status < 200) return end + 4;
    this.head = head;
    this.#left = head.length ?? 0;
    if (head.status === 204 || head.status === 304) this.#at = 'end';
    else if (head.chunked) this.#at = 'size';
    else if (head.length === undefined) this.#at = 'rest';
    else this.#at = head.length > 0 ? 'body' : 'end';
    return end + 4;
  }

  #takeBody(bytes: Buffer): number {
    const taken = Math.min(bytes.length, this.#left);
    this.bytes += taken;
    this.#left -= taken;
    if (this.#left === 0) this.#at = this.#at === 'body' ? 'end' : 'after-chunk';
    return taken;
  }

  #takeLine(bytes: Buffer): number {
    const end = bytes.indexOf('\r\n');
    if (end < 0) return 0;
    const line = bytes.toString('latin1', 0, end);
    if (this.#at === 'after-chunk') {
      if (line !== '') throw new Error('a chunk is longer than it says');
      this.#at = 'size';
    } else if (this.#at === 'size') {
      const size = /^([0-9a-f]+)(;.*)?$/i.exec(line)?.[1];
      if (size === undefined) throw new Error(`not the size of a chunk: ${line.slice(0, 40)}`);
      this.#left = Number.parseInt(size, 16);
      this.#at = this.#left > 0 ? 'chunk' : 'trailer';
    } else if (line === '') this.#at = 'end';
    return end + 2;
  }
}

function parse(text: string): Head {
  const status = /^HTTP\/1\.1 ([1-5]\d\d)[ \r]/.exec(text)?.[1];
  if (status === undefined) throw new Error(`not an answer: ${text.slice(0, 40)}`);
  const length = field(LENGTH, text);
  return {
    status: Number(status),
    length: length === undefined ? undefined : Number(length),
    chunked: field(CHUNKED, text) !== undefined,
    closes: field(CLOSE, text) !== undefined,
    revision: field(REVISION, text),
  };
}

function field(pattern: RegExp, head: string): string | undefined {
  return pattern.exec(head)?.[1];
}

const LENGTH = /\r\ncontent-length: *(\d+)\r\n/i;
const CHUNKED = /\r\n(transfer-encoding): *chunked\r\n/i;
const CLOSE = /\r\n(connection): *close\r\n/i;
const REVISION = /\r\nx-unideploy-revision: *(.*)\r\n/i;
