import { type ChildProcess, fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import type { ListenAddress } from '../../port.ts';
import { LIMITS } from '../limits.ts';
import type { Log } from '../log.ts';
import type { BoundSocket } from './bind.ts';
import { type Answers, Channel } from './channel.ts';
import type { PrimaryCalls, WorkerCalls } from './messages.ts';

export interface WorkerOptions {
  state: string;
  log: Log;
  socketAt: (address: ListenAddress) => BoundSocket;
}

/** One worker, as the primary sees it. */
export class WorkerProcess {
  readonly channel: Channel<WorkerCalls>;
  /** resolves when another one has to take its place: it has gone, or cannot go on */
  readonly over: Promise<void>;
  /** it takes no more connections, and ends by itself */
  leaving = false;
  readonly #child: ChildProcess;
  readonly #log: Log;
  readonly #ended: Promise<void>;
  /** pings without an answer; the first may take longer, while the process starts */
  #unanswered = -2 * LIMITS.pings;

  constructor({ state, log, socketAt }: WorkerOptions) {
    this.#log = log;
    this.#child = fork(WORKER, ['--state', state], {
      execArgv: [],
      cwd: '/',
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
    });
    let failing = () => {};
    const failed = new Promise<void>((resolve) => {
      failing = resolve;
    });
    const answers: Answers<PrimaryCalls> = {
      socketAt,
      failing: () => {
        this.leaving = true;
        failing();
      },
    };
    this.channel = new Channel(this.#child, answers);
    this.over = Promise.race([this.channel.closed, failed]);
    this.#ended = new Promise((resolve) => {
      // one that could not be started has no exit
      this.#child.once('error', () => resolve());
      this.#child.once('exit', (code, signal) => {
        log(code === 0 ? 'info' : 'error', 'worker ended', { pid: this.pid, code, signal });
        resolve();
      });
    });
    log('info', 'worker started', { pid: this.pid });
  }

  get pid(): number | undefined {
    return this.#child.pid;
  }

  /** Asks whether it is well; one that has not answered too often is killed. */
  ping(): void {
    if (this.#unanswered >= LIMITS.pings) {
      this.kill('it does not answer');
      return;
    }
    this.#unanswered++;
    this.channel.call('ping', []).then(
      () => {
        this.#unanswered = 0;
      },
      () => undefined,
    );
  }

  kill(why: string): void {
    this.#log('error', 'a worker is killed', { pid: this.pid, why });
    this.#child.kill('SIGKILL');
  }

  /** Ends when it has done what it is told, at the latest after `withinMs`. */
  async end(tell: (channel: Channel<WorkerCalls>) => Promise<void>, withinMs: number): Promise<void> {
    this.leaving = true;
    const late = setTimeout(() => this.kill('it does not end'), withinMs);
    await tell(this.channel).catch(() => undefined);
    this.channel.disconnect();
    await this.#ended;
    clearTimeout(late);
  }
}

/** Beside this file when it is compiled, which it always is: Node 20 does not run TypeScript. */
const WORKER = fileURLToPath(new URL('./worker.js', import.meta.url));
