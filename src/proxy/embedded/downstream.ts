import type { Fields } from './http1/llhttp.ts';

/** The client's side of one exchange, whatever protocol it speaks. */
export interface Downstream {
  /** Whether the whole body of the request has been read. */
  readonly bodyRead: boolean;
  /** Bytes of the request that are kept here, read and not passed on. */
  readonly kept: number;
  /** Reads the body from now on, and asks for it where the client waits for that. */
  readBody(reader: BodyReader): void;
  pauseBody(): void;
  resumeBody(): void;
  /** An answer before the answer (103, say). */
  inform(answer: AnswerHead): void;
  /** Begins the answer. Its head may be kept back until `write`, `flush` or `end`. */
  answer(answer: AnswerHead): void;
  flush(): void;
  /**
   * False: the client takes no more for now, and the exchange is told when it does. `release` is called when the piece's
   * memory may be used again.
   */
  write(piece: Buffer, release?: () => void): boolean;
  /** Ends the answer: the exchange is over. */
  end(trailers?: [string, string][]): void;
  /** Ends the exchange so that the client sees that its answer is not whole. */
  destroy(): void;
  /** No further request on this connection after this one. */
  close(): void;
}

/** Who takes the body of a request. */
export interface BodyReader {
  onBody(piece: Buffer): void;
  onBodyEnd(): void;
}

/** What the client's side tells an exchange. */
export interface Exchanging {
  start(): void;
  /** The client has gone. */
  abandon(): void;
  /** The client takes more of its answer. */
  resume(): void;
}

/** An answer that goes to a client. */
export interface AnswerHead {
  status: number;
  reason: string;
  fields: Fields;
  /** header names, in lower case, that do not go on */
  dropped: ReadonlySet<string> | undefined;
  /** headers of our own */
  added: [name: string, value: string][];
  /** bytes of the body: undefined where there is none, null where its end will tell */
  length: number | null | undefined;
}
