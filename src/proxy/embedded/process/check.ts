import { type ClientRequest, type IncomingMessage, request } from 'node:http';
import type { ActiveCheck } from '../../../domain/traffic.ts';
import type { Route } from '../../port.ts';

/** Asks one instance again and again, and tells when it turns unhealthy or healthy. */
export class Check {
  readonly route: Route;
  readonly policy: ActiveCheck;
  /** as the answers have it; an instance begins healthy: it was verified before it got its route */
  healthy: boolean;
  readonly #onTurn: (cause: string) => void;
  /** answers in a row that speak against `healthy` */
  #against = 0;
  /** on `performance.now()`'s clock */
  #due: number;
  #timer: NodeJS.Timeout | undefined;
  readonly #stopped = new AbortController();

  /** `offset`: 0 to 1, where in the interval it asks; `onTurn`: `healthy` has changed. */
  constructor(
    route: Route,
    policy: ActiveCheck,
    offset: number,
    healthy: boolean,
    onTurn: (cause: string) => void,
  ) {
    this.route = route;
    this.policy = policy;
    this.healthy = healthy;
    this.#onTurn = onTurn;
    this.#due = offset * policy.interval;
    this.#wait();
  }

  /** Asks no more; a question under way is dropped, and tells nothing. */
  stop(): void {
    clearTimeout(this.#timer);
    this.#stopped.abort();
  }

  /** Until the next turn of its own in the interval: what a slow answer has missed is not made up for. */
  #wait(): void {
    const { interval } = this.policy;
    const late = performance.now() - this.#due;
    if (late >= 0) this.#due += interval * (Math.floor(late / interval) + 1);
    this.#timer = setTimeout(() => this.#ask(), this.#due - performance.now());
  }

  async #ask(): Promise<void> {
    this.#due += this.policy.interval;
    const { signal } = this.#stopped;
    const fault = await ask(this.route, this.policy, signal).catch(({ message }: Error) => message);
    if (signal.aborted) return;
    this.#wait();
    this.#count(fault);
  }

  #count(fault: string | undefined): void {
    const well = fault === undefined;
    if (well === this.healthy) {
      this.#against = 0;
      return;
    }
    if (++this.#against < (well ? this.policy.healthy : this.policy.unhealthy)) return;
    this.healthy = well;
    this.#against = 0;
    this.#onTurn(fault ?? 'answers');
  }
}

/**
 * One GET over a connection of its own: what is wrong with its answer, when that connection is closed. The status alone
 * decides; a body that does not end is cut. Rejects where there can be no such request.
 */
function ask(
  { host, port }: Route,
  { path, timeout }: ActiveCheck,
  signal: AbortSignal,
): Promise<string | undefined> {
  return new Promise((resolve) => {
    const question = request({ host, port, path, agent: false, signal, headers: { connection: 'close' } });
    let fault: string | undefined = 'no answer';
    const late = setTimeout(() => {
      if (fault === 'no answer') fault = `no answer within ${timeout} ms`;
      question.destroy();
    }, timeout);
    question.once('response', (answer) => {
      const status = answer.statusCode ?? 0;
      fault = status >= 200 && status < 300 ? undefined : `status ${status}`;
      discard(answer, question);
    });
    question.on('error', ({ code }: NodeJS.ErrnoException) => {
      if (fault === 'no answer') fault = code ?? fault;
    });
    question.once('close', () => {
      clearTimeout(late);
      resolve(fault);
    });
    question.end();
  });
}

/** Reads a body up to a bound, so that a small one ends as its server expects. */
function discard(answer: IncomingMessage, question: ClientRequest): void {
  let left = MOST_READ;
  answer.on('data', (piece: Buffer) => {
    left -= piece.length;
    if (left < 0) question.destroy();
  });
  // the body was cut, by us or by the instance: the status has said enough
  answer.on('error', () => undefined);
}

/** bytes of a body */
const MOST_READ = 65_536;
