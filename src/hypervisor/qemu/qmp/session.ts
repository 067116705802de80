import pRetry from 'p-retry';
import { UnideployError } from '../../../errors.ts';
import { broken, QmpRefusal } from './errors.ts';
import { type Frame, openWire, type Wire } from './wire.ts';

export interface QmpEvent {
  name: string;
  data: Frame;
}

/** An event that is waited for. Cancel it when the command that would have caused it failed. */
export interface AwaitedEvent {
  event: Promise<QmpEvent>;
  cancel(): void;
}

/** One client's conversation with one monitor. A monitor serves one client at a time. */
export interface QmpSession {
  /** Resolves with QEMU's `return`; rejects with QmpRefusal, with UD_QMP when the deadline passes or the session ends. */
  execute(command: string, args?: Frame, deadlineMs?: number): Promise<unknown>;
  /** Starts waiting at once, so that an event cannot be lost between a command and the wait for its effect. */
  waitFor(wanted: (event: QmpEvent) => boolean, deadlineMs: number): AwaitedEvent;
  onEvent(listener: (event: QmpEvent) => void): () => void;
  /** Calls back once, also when the session has ended already. */
  onClose(listener: (cause: Error) => void): void;
  readonly open: boolean;
  close(): void;
}

export interface ConnectOptions {
  /** milliseconds until the greeting must have come, retries included */
  deadlineMs: number;
  /** ends the retries, e.g. when the process is known to be gone */
  signal?: AbortSignal;
}

const COMMAND_DEADLINE_MS = 10_000;

/** Connects as soon as the socket is there, takes the greeting and negotiates capabilities. Rejects with UD_QMP. */
export async function connectQmp(path: string, { deadlineMs, signal }: ConnectOptions): Promise<QmpSession> {
  const until = performance.now() + deadlineMs;
  const conversation = new Conversation();
  try {
    const wire = await pRetry(() => openWire(path, conversation), {
      retries: Number.POSITIVE_INFINITY,
      minTimeout: 10,
      maxTimeout: 100,
      factor: 1.5,
      maxRetryTime: deadlineMs,
      unref: false,
      ...(signal === undefined ? {} : { signal }),
    });
    conversation.begin(wire);
    await conversation.greeting(Math.max(1, until - performance.now()));
    await conversation.execute('qmp_capabilities', {}, Math.max(1, until - performance.now()));
    return conversation;
  } catch (error) {
    conversation.close();
    if (error instanceof UnideployError) throw error;
    throw broken(`no connection: ${error instanceof Error ? error.message : String(error)}`, error);
  }
}

class Conversation implements QmpSession {
  #wire: Wire | null = null;
  #ended: Error | null = null;
  #greeted = deferred<void>();
  #lastId = 0;
  #commands = new Map<
    number,
    { command: string; resolve(value: unknown): void; reject(error: Error): void }
  >();
  #listeners = new Set<(event: QmpEvent) => void>();
  #closers = new Set<(cause: Error) => void>();

  begin(wire: Wire): void {
    this.#wire = wire;
  }

  async greeting(deadlineMs: number): Promise<void> {
    // A second client is accepted by the kernel but never greeted: QEMU serves one at a time.
    await withDeadline(this.#greeted.promise, deadlineMs, () =>
      broken(`no greeting within ${deadlineMs} ms: QEMU hangs, or another program holds its monitor`),
    );
  }

  get open(): boolean {
    return this.#wire !== null && this.#ended === null;
  }

  async execute(command: string, args: Frame = {}, deadlineMs = COMMAND_DEADLINE_MS): Promise<unknown> {
    if (this.#ended !== null) throw broken(`${command}: ${this.#ended.message}`, this.#ended);
    const id = ++this.#lastId;
    const answer = deferred<unknown>();
    this.#commands.set(id, { command, ...answer });
    this.#wire?.send({ execute: command, arguments: args, id });
    try {
      return await withDeadline(answer.promise, deadlineMs, () =>
        broken(`${command} was not answered within ${deadlineMs} ms`),
      );
    } finally {
      this.#commands.delete(id);
    }
  }

  waitFor(wanted: (event: QmpEvent) => boolean, deadlineMs: number): AwaitedEvent {
    const seen = deferred<QmpEvent>();
    const stopEvents = this.onEvent((event) => {
      if (wanted(event)) seen.resolve(event);
    });
    const lost = (cause: Error) => seen.reject(broken(`the session ended: ${cause.message}`, cause));
    this.onClose(lost);
    const event = withDeadline(seen.promise, deadlineMs, () =>
      broken(`no event within ${deadlineMs} ms`),
    ).finally(() => {
      stopEvents();
      this.#closers.delete(lost);
    });
    // Whoever cancels does not look at the promise any more.
    event.catch(() => {});
    return { event, cancel: () => seen.reject(broken('the wait was cancelled')) };
  }

  onEvent(listener: (event: QmpEvent) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  onClose(listener: (cause: Error) => void): void {
    if (this.#ended !== null) listener(this.#ended);
    else this.#closers.add(listener);
  }

  close(): void {
    this.#wire?.close();
    this.closed(new Error('the session was closed here'));
  }

  frame(frame: Frame): void {
    if ('QMP' in frame) this.#greeted.resolve();
    else if (typeof frame.event === 'string')
      this.#emit({ name: frame.event, data: (frame.data ?? {}) as Frame });
    else this.#answer(frame);
  }

  closed(cause: Error): void {
    if (this.#ended !== null) return;
    this.#ended = cause;
    this.#greeted.reject(broken(`the monitor hung up before its greeting: ${cause.message}`, cause));
    for (const { command, reject } of this.#commands.values())
      reject(broken(`${command}: the session ended: ${cause.message}`, cause));
    this.#commands.clear();
    for (const listener of [...this.#closers]) listener(cause);
    this.#closers.clear();
  }

  #emit(event: QmpEvent): void {
    for (const listener of [...this.#listeners]) listener(event);
  }

  /** An answer nobody waits for any more (its deadline has passed) is dropped. */
  #answer(frame: Frame): void {
    const waiting = this.#commands.get(frame.id as number);
    if (waiting === undefined) return;
    const error = frame.error as { class?: string; desc?: string } | undefined;
    if (error === undefined) waiting.resolve(frame.return);
    else
      waiting.reject(
        new QmpRefusal(
          waiting.command,
          error.class ?? 'GenericError',
          error.desc ?? 'refused without a reason',
        ),
      );
  }
}

function deferred<T>() {
  let resolve: (value: T) => void = () => {};
  let reject: (error: Error) => void = () => {};
  const promise = new Promise<T>((yes, no) => {
    resolve = yes;
    reject = no;
  });
  // Rejected when the session ends, wanted or not.
  promise.catch(() => {});
  return { promise, resolve, reject };
}

function withDeadline<T>(promise: Promise<T>, deadlineMs: number, late: () => Error): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const deadline = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => reject(late()), deadlineMs);
  });
  return Promise.race([promise, deadline]).finally(() => clearTimeout(timer));
}
