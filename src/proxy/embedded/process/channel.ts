import type { ChildProcess, SendHandle } from 'node:child_process';
import { type ErrorReport, fromReport, report } from '../../../errors.ts';
import type { BoundSocket } from './bind.ts';

/** What one process answers to another: arguments and results as JSON can carry them, or a socket as the result. */
type Calls<T> = { [K in keyof T]: (...args: never[]) => unknown };

/** The side that answers is given, last, a signal that aborts when nobody waits for the answer any more. */
export type Answers<T> = {
  [K in keyof T]: T[K] extends (...args: infer A) => infer R
    ? (...args: [...A, AbortSignal]) => R | Promise<Awaited<R>>
    : never;
};

type Message =
  | { call: number; name: string; args: unknown[] }
  | { abort: number }
  | { answer: number; result?: unknown; socket?: true; error?: ErrorReport };

/** One end of the IPC channel of two processes: calls with answers, both ways, in the order in which they were made. */
export class Channel<Theirs extends Calls<Theirs>> {
  /** resolves when the other end has gone */
  readonly closed: Promise<void>;
  readonly #end: ChildProcess | NodeJS.Process;
  readonly #answers: Record<string, ((...args: unknown[]) => unknown) | undefined>;
  readonly #waiting = new Map<number, { resolve(result: unknown): void; reject(error: Error): void }>();
  readonly #running = new Map<number, AbortController>();
  #calls = 0;
  #open = true;

  constructor(end: ChildProcess | NodeJS.Process, answers: object) {
    this.#end = end;
    this.#answers = answers as Record<string, ((...args: unknown[]) => unknown) | undefined>;
    end.on('message', (message: Message, handle: unknown) => this.#receive(message, handle));
    this.closed = new Promise((resolve) => {
      // a process that could not be started says so by 'error' alone
      for (const event of ['disconnect', 'exit', 'error']) end.once(event, () => resolve(this.#close()));
    });
  }

  /** Rejects with the error that was thrown there, or with `Gone`. */
  call<K extends keyof Theirs & string>(
    name: K,
    args: Parameters<Theirs[K]>,
    signal?: AbortSignal,
  ): Promise<Awaited<ReturnType<Theirs[K]>>> {
    const call = ++this.#calls;
    return new Promise<unknown>((resolve, reject) => {
      if (!this.#open) throw new Gone();
      const abort = () => this.#send({ abort: call });
      const settled = () => {
        this.#waiting.delete(call);
        signal?.removeEventListener('abort', abort);
      };
      this.#waiting.set(call, {
        resolve: (result) => {
          settled();
          resolve(result);
        },
        reject: (error) => {
          settled();
          reject(error);
        },
      });
      this.#send({ call, name, args });
      if (signal?.aborted) abort();
      else signal?.addEventListener('abort', abort);
    }) as Promise<Awaited<ReturnType<Theirs[K]>>>;
  }

  /** Lets go of the other process. */
  disconnect(): void {
    if (this.#end.connected) this.#end.disconnect?.();
  }

  #receive(message: Message, handle: unknown): void {
    if ('call' in message) void this.#answer(message);
    else if ('abort' in message) this.#running.get(message.abort)?.abort();
    else {
      const waiting = this.#waiting.get(message.answer);
      if (message.error) waiting?.reject(fromReport(message.error));
      else waiting?.resolve(message.socket ? handle : message.result);
    }
  }

  async #answer({ call, name, args }: { call: number; name: string; args: unknown[] }): Promise<void> {
    const abort = new AbortController();
    this.#running.set(call, abort);
    try {
      const answer = this.#answers[name];
      if (!answer) throw new Error(`no answer to ${name}: processes of two versions`);
      const result = await answer(...args, abort.signal);
      if (isSocket(result)) this.#send({ answer: call, socket: true }, result);
      else this.#send({ answer: call, result });
    } catch (error) {
      this.#send({ answer: call, error: report(error) });
    } finally {
      this.#running.delete(call);
    }
  }

  #send(message: Message, socket?: BoundSocket): void {
    if (!this.#open || !this.#end.connected) return;
    // Node sends such a socket as it is, and keeps it open here; its types do not know
    this.#end.send?.(message, socket as unknown as SendHandle, undefined, (error) => {
      if (error) this.#close();
    });
  }

  #close(): void {
    this.#open = false;
    for (const { reject } of [...this.#waiting.values()]) reject(new Gone());
    for (const abort of this.#running.values()) abort.abort();
  }
}

/** The other process has ended, or is about to. */
export class Gone extends Error {
  constructor() {
    super('the other process has gone');
  }
}

function isSocket(result: unknown): result is BoundSocket {
  return typeof (result as BoundSocket | undefined)?.getsockname === 'function';
}
