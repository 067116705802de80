import { constants } from 'node:os';
import { UnideployError } from '../errors.ts';

/** What people and CI systems end a command with. */
const SIGNALS = ['SIGINT', 'SIGTERM'] as const;
type Signal = (typeof SIGNALS)[number];

/** A Ctrl-C comes twice where something like npm passes it on: within so many ms it is one. */
const ECHO = 300;

/** Hears the signals that are to end a command, from its making until it is closed. */
export class Interruption {
  readonly #first = new AbortController();
  readonly #second = new AbortController();
  #signal: Signal | null = null;
  #at = 0;

  constructor() {
    for (const signal of SIGNALS) process.on(signal, this.#hear);
  }

  /** aborted by the first signal */
  get first(): AbortSignal {
    return this.#first.signal;
  }

  /** aborted by the second one, which will not wait */
  get second(): AbortSignal {
    return this.#second.signal;
  }

  /** 130 or 143; null: no signal has come */
  get exitCode(): number | null {
    return this.#signal && exitCodeOf(this.#signal);
  }

  get signal(): Signal | null {
    return this.#signal;
  }

  /** @throws UD_INTERRUPTED once a signal has come */
  check(): void {
    if (this.#signal) throw new Interrupted(this.#signal);
  }

  /** The same of a job, which the signal has cancelled. */
  insteadOfJob(error: unknown): unknown {
    return this.#signal ? new Interrupted(this.#signal, CANCELLED) : error;
  }

  /** What has really ended a command: an error after a signal is what has come of that. */
  instead(error: unknown): unknown {
    return this.#signal ? new Interrupted(this.#signal) : error;
  }

  /**
   * What the work comes to, unless a signal comes first.
   * @throws UD_INTERRUPTED
   */
  async unlessHeard<T>(work: Promise<T>): Promise<T> {
    this.check();
    let heard = () => {};
    const signalled = new Promise<never>((_resolve, reject) => {
      heard = () => reject(new Interrupted(this.#signal ?? 'SIGINT'));
    });
    this.first.addEventListener('abort', heard);
    try {
      return await Promise.race([work, signalled]);
    } finally {
      this.first.removeEventListener('abort', heard);
    }
  }

  close(): void {
    for (const signal of SIGNALS) process.off(signal, this.#hear);
  }

  readonly #hear = (signal: Signal) => {
    const now = performance.now();
    if (this.#signal === null) {
      this.#signal = signal;
      this.#at = now;
      this.#first.abort();
    } else if (signal !== this.#signal || now - this.#at > ECHO) this.#second.abort();
  };
}

const NOTHING_BEGAN = 'ended the command before a rollout began; nothing was changed';
const CANCELLED = 'cancelled the job; nothing of it stays';

/** Nothing was set going, and nothing will be. */
class Interrupted extends UnideployError {
  readonly #signal: Signal;

  constructor(signal: Signal, what = NOTHING_BEGAN) {
    super('UD_INTERRUPTED', `${signal} ${what}`, 'call it again');
    this.#signal = signal;
  }

  override get exitCode(): number {
    return exitCodeOf(this.#signal);
  }
}

/** As shells tell of a process that a signal has ended. */
function exitCodeOf(signal: Signal): number {
  return 128 + constants.signals[signal];
}
