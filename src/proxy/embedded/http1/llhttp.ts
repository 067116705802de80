import { createRequire } from 'node:module';

/** What the readers return besides a number of bytes. */
export const MORE = -1;
export const BROKEN = -2;
export const TOO_LARGE = -3;

/**
 * llhttp, the HTTP/1 parser of Node itself, in the WebAssembly build that undici ships: as strict, and without the
 * objects that node:http makes of every message. It reads heads and chunked bodies; a body of known length needs none.
 */
export class Parser {
  readonly #state: number;
  /** what the present head (or the trailers) is made of so far, and its length */
  #pieces: Buffer[] = [];
  #length = 0;
  #spans = new Spans();
  #freed = false;

  constructor(kind: 'request' | 'response') {
    this.#state = llhttp.llhttp_alloc(kind === 'request' ? 1 : 2);
  }

  /** Whether a part of a head has been read. */
  get begun(): boolean {
    return this.#length > 0;
  }

  /**
   * Reads on in a head of at most `limit` bytes: returns how many bytes of `piece` belong to it where it ends there
   * (`take` has it then), else MORE, BROKEN or TOO_LARGE.
   */
  readHead(piece: Buffer, limit: number): number {
    // a head is short: what follows it in the piece need not be copied
    for (let start = 0; start < piece.length; start += STEP) {
      const given = piece.subarray(start, start + Math.min(STEP, limit - this.#length));
      const result = this.#execute(given);
      if (result === PAUSED) {
        const end = llhttp.llhttp_get_error_pos(this.#state) - input.at;
        this.#keep(given.subarray(0, end));
        return start + end;
      }
      if (result !== 0) return BROKEN;
      // the memory of the piece may be read into again
      this.#keep(Buffer.from(given));
      if (this.#length >= limit) return TOO_LARGE;
    }
    return MORE;
  }

  /** The head that has been read, or the trailers. */
  take(): Head {
    const bytes = this.#pieces.length === 1 ? (this.#pieces[0] as Buffer) : Buffer.concat(this.#pieces);
    const head = new Head(bytes.toString('latin1'), this.#spans, {
      version: llhttp.llhttp_get_http_major(this.#state) * 10 + llhttp.llhttp_get_http_minor(this.#state),
      status: llhttp.llhttp_get_status_code(this.#state),
    });
    this.#forget();
    return head;
  }

  /** Goes on to the chunked body of the head that was read. */
  startChunks(): void {
    if (!this.#freed) llhttp.llhttp_resume(this.#state);
  }

  /**
   * Reads on in a chunked body, and puts the pieces of its content into `contents`. Returns how many bytes of `piece`
   * belong to the body where it ends there, else MORE or BROKEN.
   */
  readChunks(piece: Buffer, contents: Buffer[]): number {
    const result = this.#execute(piece);
    for (let i = 0; i < bodySpans.length; i += 2)
      contents.push(piece.subarray(bodySpans[i] as number, bodySpans[i + 1] as number));
    if (this.#spans.count > 0) this.#keep(Buffer.from(piece));
    if (result === PAUSED) return llhttp.llhttp_get_error_pos(this.#state) - input.at;
    return result === 0 && this.#length < MOST_TRAILERS ? MORE : BROKEN;
  }

  /** The trailers of the chunked body that has ended. */
  takeTrailers(): Head | undefined {
    return this.#spans.count > 0 ? this.take() : undefined;
  }

  /** Makes it ready for the next message. */
  reset(): void {
    if (!this.#freed) llhttp.llhttp_reset(this.#state);
    this.#forget();
  }

  /** Gives its memory back, which others get: afterwards it reads nothing, and all it is given is BROKEN. Idempotent. */
  free(): void {
    if (!this.#freed) llhttp.llhttp_free(this.#state);
    this.#freed = true;
  }

  /** Whoever is told of the result may parse something else in the same memory: nobody is called from within. */
  #execute(piece: Buffer): number {
    if (this.#freed) return FREED;
    spans = this.#spans;
    offset = this.#length;
    bodySpans.length = 0;
    input.write(piece);
    return llhttp.llhttp_execute(this.#state, input.at, piece.length);
  }

  #keep(piece: Buffer): void {
    this.#pieces.push(piece);
    this.#length += piece.length;
  }

  #forget(): void {
    this.#pieces = [];
    this.#length = 0;
    this.#spans = new Spans();
  }
}

/** Names and values, in the order in which they came. */
export interface Fields {
  readonly count: number;
  name(index: number): string;
  value(index: number): string;
}

/** The head of a message as it was sent, or its trailers. */
export class Head implements Fields {
  /** 11 for HTTP/1.1 */
  readonly version: number;
  /** of a response */
  readonly status: number;
  readonly #text: string;
  readonly #spans: Spans;

  constructor(text: string, spans: Spans, facts: { version: number; status: number }) {
    this.#text = text;
    this.#spans = spans;
    this.version = facts.version;
    this.status = facts.status;
  }

  /** whether its sender is ready for another message on the connection */
  get keepAlive(): boolean {
    return this.#spans.keepAlive;
  }

  get method(): string {
    return this.#text.slice(0, this.#spans.lineStart).trim();
  }

  /** the target of a request, or the reason of a response */
  get line(): string {
    return this.#text.slice(this.#spans.lineStart, this.#spans.lineEnd);
  }

  get count(): number {
    return this.#spans.count;
  }

  name(index: number): string {
    const { fields } = this.#spans;
    return this.#text.slice(fields[4 * index], fields[4 * index + 1]);
  }

  value(index: number): string {
    const { fields } = this.#spans;
    let end = fields[4 * index + 3] as number;
    const start = fields[4 * index + 2] as number;
    while (end > start && isBlank(this.#text.charCodeAt(end - 1))) end--;
    return this.#text.slice(start, end);
  }
}

/** Where things stand in a head, which may have come in several pieces. */
class Spans {
  lineStart = 0;
  lineEnd = 0;
  /** start and end of a name, start and end of its value, and so on */
  readonly fields: number[] = [];
  keepAlive = false;

  get count(): number {
    return this.fields.length >> 2;
  }

  addLine(start: number, end: number): void {
    if (this.lineEnd === 0) this.lineStart = start;
    this.lineEnd = end;
  }

  addName(start: number, end: number): void {
    const { fields } = this;
    const last = fields.length - 4;
    // a name that began in the piece before; its value is still empty, at the same place
    if (last >= 0 && fields[last + 1] === start && fields[last + 3] === start) {
      fields[last + 1] = end;
      fields[last + 2] = end;
      fields[last + 3] = end;
    } else fields.push(start, end, end, end);
  }

  addValue(start: number, end: number): void {
    const { fields } = this;
    const last = fields.length - 4;
    if (fields[last + 2] === fields[last + 1]) fields[last + 2] = start;
    fields[last + 3] = end;
  }
}

function isBlank(code: number): boolean {
  return code === 0x20 || code === 0x09;
}

interface Exports {
  memory: { buffer: ArrayBuffer };
  malloc(size: number): number;
  free(pointer: number): void;
  llhttp_alloc(type: 1 | 2): number;
  llhttp_free(state: number): void;
  llhttp_reset(state: number): void;
  llhttp_resume(state: number): void;
  llhttp_execute(state: number, at: number, length: number): number;
  llhttp_get_error_pos(state: number): number;
  llhttp_get_http_major(state: number): number;
  llhttp_get_http_minor(state: number): number;
  llhttp_get_status_code(state: number): number;
}

/** What Node's types leave out. */
interface WebAssemblyApi {
  Module: new (bytes: Buffer) => object;
  Instance: new (module: object, imports: { env: typeof callbacks }) => { exports: Exports };
}

/** llhttp's HPE_PAUSED: our callbacks stop it at the end of a head, and of a message */
const PAUSED = 21;
/** none of llhttp's */
const FREED = -1;
const MOST_TRAILERS = 65_536;
/** bytes that are parsed at once in search of the end of a head */
const STEP = 4_096;

// what the parser that runs just now tells
let spans = new Spans();
let offset = 0;
const bodySpans: number[] = [];

const at = (pointer: number): number => pointer - input.at + offset;
const callbacks = {
  wasm_on_message_begin: () => 0,
  wasm_on_url: (_state: number, start: number, length: number) => {
    spans.addLine(at(start), at(start) + length);
    return 0;
  },
  wasm_on_status: (_state: number, start: number, length: number) => {
    spans.addLine(at(start), at(start) + length);
    return 0;
  },
  wasm_on_header_field: (_state: number, start: number, length: number) => {
    spans.addName(at(start), at(start) + length);
    return 0;
  },
  wasm_on_header_value: (_state: number, start: number, length: number) => {
    spans.addValue(at(start), at(start) + length);
    return 0;
  },
  wasm_on_headers_complete: (_state: number, _status: number, _upgrade: number, keepAlive: number) => {
    spans.keepAlive = keepAlive === 1;
    return PAUSED;
  },
  wasm_on_body: (_state: number, start: number, length: number) => {
    bodySpans.push(start - input.at, start - input.at + length);
    return 0;
  },
  wasm_on_message_complete: () => PAUSED,
};

const llhttp = load();
const input = {
  at: 0,
  size: 0,
  view: new Uint8Array(0),
  /** Puts what is to be parsed into the parser's memory. */
  write(piece: Buffer): void {
    if (piece.length > this.size) {
      if (this.size > 0) llhttp.free(this.at);
      this.size = Math.max(65_536, piece.length);
      this.at = llhttp.malloc(this.size);
    }
    // memory that grew is another buffer, and what was asked for anew may lie where the smaller piece lay
    const { view } = this;
    if (view.buffer !== llhttp.memory.buffer || view.byteOffset !== this.at || view.length !== this.size)
      this.view = new Uint8Array(llhttp.memory.buffer, this.at, this.size);
    this.view.set(piece);
  },
};

function load(): Exports {
  const bytes: Buffer = createRequire(import.meta.url)('undici/lib/llhttp/llhttp-wasm.js');
  const { Module, Instance } = (globalThis as unknown as { WebAssembly: WebAssemblyApi }).WebAssembly;
  return new Instance(new Module(bytes), { env: callbacks }).exports;
}
