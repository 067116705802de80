import { fenced } from '../../../marks.ts';

/** A controller's time in command: it ends, and `over` with it, when a newer one says its first word. */
export interface Reign {
  over: AbortSignal;
  /** @throws UD_FENCED when it is over: to be called where waiting has come between the order and what it does */
  expect(): void;
}

/** Whose orders the data plane takes: those of the controller with the highest token that it has heard of. */
export class Command {
  #token: number;
  #end = new AbortController();

  constructor(token: number) {
    this.#token = token;
  }

  get token(): number {
    return this.#token;
  }

  /** A controller says something. @throws UD_FENCED when a newer one has done so before */
  hear(token: number): Reign {
    if (token > this.#token) {
      this.#token = token;
      this.#end.abort();
      this.#end = new AbortController();
    }
    const over = this.#end.signal;
    const expect = () => {
      if (token < this.#token) throw fenced('the data plane', token, this.#token);
    };
    expect();
    return { over, expect };
  }
}
