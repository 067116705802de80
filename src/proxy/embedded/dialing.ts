import type { InstanceConnection } from './http1/instance-connection.ts';

/** Who needs a connection to an instance. */
export interface Caller {
  /** Begins to make one: `onMade` or `onFailed`, once; returns the way to give up. */
  open(onMade: () => void, onFailed: () => void): () => void;
  /** Takes one that was used before; not there: it must have a new one. */
  takeIdle?: (connection: InstanceConnection) => void;
}

/**
 * Makes the connections to one instance, one at a time, in the order in which they were asked for. QEMU's user network
 * listens with a backlog of 1: of a burst of connections the kernel drops those that QEMU has not accepted yet, and sends
 * them again only after a second, or, where the end of a handshake was dropped, after ever longer times. Nothing here has a
 * deadline: who has waited for too long gives up.
 */
export class Dialing {
  /** in the order of arrival */
  readonly #callers = new Set<Caller>();
  /** whose connection is being made; no more among the others where it has got another one meanwhile */
  #dialled: Caller | undefined;
  #giveUp: (() => void) | undefined;

  /** Returns the way to give up. */
  add(caller: Caller): () => void {
    this.#callers.add(caller);
    this.#dial();
    return () => this.#leave(caller);
  }

  /** Whether anybody would take a connection that has become idle. */
  get wantsIdle(): boolean {
    return this.#firstForIdle() !== undefined;
  }

  /**
   * Gives an idle connection to the first who takes one: it is there sooner than a new one. What is being made for that one is
   * made all the same: where too few are kept, each request would begin one and give it up.
   */
  give(connection: InstanceConnection): void {
    const caller = this.#firstForIdle();
    if (caller === undefined) return;
    this.#callers.delete(caller);
    caller.takeIdle?.(connection);
  }

  #firstForIdle(): Caller | undefined {
    for (const caller of this.#callers) if (caller.takeIdle) return caller;
    return undefined;
  }

  #dial(): void {
    if (this.#giveUp) return;
    const [first] = this.#callers;
    if (first === undefined) return;
    const ended = () => {
      this.#giveUp = undefined;
      this.#dialled = undefined;
      this.#callers.delete(first);
      this.#dial();
    };
    this.#dialled = first;
    this.#giveUp = first.open(ended, ended);
  }

  #leave(caller: Caller): void {
    this.#callers.delete(caller);
    if (caller !== this.#dialled) return;
    this.#giveUp?.();
    this.#giveUp = undefined;
    this.#dialled = undefined;
    this.#dial();
  }
}
