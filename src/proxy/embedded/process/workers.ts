import { type ChildProcess, fork } from 'node:child_process';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { UnideployError } from '../../../errors.ts';
import type { Drained, Figures, ListenAddress, RoutingTable, TableStatus } from '../../port.ts';
import { LIMITS } from '../limits.ts';
import type { Log } from '../log.ts';
import type { BoundSocket } from './bind.ts';
import { type Answers, Channel, Gone } from './channel.ts';
import type { PrimaryCalls, ServingCalls, WorkerCalls } from './messages.ts';
import { Past } from './past.ts';
import { sumOfDrains, sumOfFigures } from './sums.ts';
import { Turns } from './turns.ts';

export interface WorkersOptions {
  state: string;
  count: number;
  log: Log;
  socketAt: (address: ListenAddress) => BoundSocket;
  /** instances that checks have taken out */
  unhealthy: (service: string) => string[];
}

interface Worker {
  child: ChildProcess;
  channel: Channel<WorkerCalls>;
  /** it takes no more connections, and ends by itself */
  leaving: boolean;
  /** resolves when another one has to take its place */
  over: Promise<void>;
  /** resolves when it serves all tables; never, if it ends before */
  serves: Promise<unknown>;
  /** pings without an answer */
  unanswered: number;
}

/** The worker processes of one primary: told the same, summed up, and replaced when they die. */
export class Workers implements Answers<ServingCalls> {
  readonly #options: WorkersOptions;
  readonly #all = new Set<Worker>();
  /** in force, by service: what a new worker has to serve */
  readonly #tables = new Map<string, RoutingTable>();
  readonly #past = new Past();
  /** no worker is started while a table is on its way to the others */
  readonly #turns = new Turns();
  #pings: NodeJS.Timeout | undefined;
  /** resolves when the workers have been started: control answers a moment before */
  readonly #begun: Promise<void>;
  #begin = () => {};
  #ending = false;

  constructor(options: WorkersOptions) {
    this.#options = options;
    this.#begun = new Promise((resolve) => {
      this.#begin = resolve;
    });
  }

  /** Resolves when all workers serve these tables. */
  async start(tables: RoutingTable[]): Promise<void> {
    for (const table of tables) this.#tables.set(table.service, table);
    this.#pings = setInterval(() => this.#ping(), LIMITS.ping);
    const slots = Array.from({ length: this.#options.count });
    const serving = slots.map(() => new Promise<void>((serves) => void this.#keep(serves)));
    this.#begin();
    await Promise.all(serving);
  }

  /** All workers take the table, or none does and the first refusal is thrown. One that dies gets it from its place's next. */
  async apply(table: RoutingTable, unhealthy: string[]): Promise<void> {
    await this.#begun;
    await this.#turns.take(() => this.#apply(table, unhealthy));
  }

  async #apply(table: RoutingTable, unhealthy: string[]): Promise<void> {
    const workers = [...this.#all];
    const outcomes = await Promise.allSettled(
      workers.map(({ channel }) => channel.call('apply', [table, unhealthy])),
    );
    const refused: { worker: Worker; reason: unknown }[] = [];
    let taken = 0;
    for (const [i, worker] of workers.entries()) {
      const outcome = outcomes[i];
      if (outcome === undefined || worker.leaving) continue;
      if (outcome.status === 'fulfilled') taken++;
      else if (!(outcome.reason instanceof Gone)) refused.push({ worker, reason: outcome.reason });
    }
    if (taken === 0 && !this.#ending) throw refused[0]?.reason ?? noWorker();
    this.#tables.set(table.service, table);
    for (const { worker, reason } of refused) this.#kill(worker, `it refused a table: ${reason}`);
  }

  async remove(service: string, graceMs: number): Promise<void> {
    const { ended } = await this.#turns.take(async () => {
      this.#tables.delete(service);
      return { ended: this.#ask(({ channel }) => channel.call('remove', [service, graceMs])) };
    });
    await ended;
    if (!this.#tables.has(service)) this.#past.forget(service);
  }

  /** Of every worker, one entry for every service. */
  async status(): Promise<TableStatus[]> {
    const live = await this.#ask(async (worker) => {
      const tables = await worker.channel.call('status', []);
      this.#past.sawStatus(worker, tables);
      return tables;
    });
    return [...live.flat(), ...this.#past.status()];
  }

  async figures(service: string): Promise<Figures[]> {
    const live = await this.#ask(async (worker) => {
      const figures = await worker.channel.call('figures', [service]);
      this.#past.sawFigures(worker, service, figures);
      return figures;
    });
    return sumOfFigures([...live.flat(), ...this.#past.figures(service)]);
  }

  /** Done when all workers are; one that dies meanwhile has nothing in flight any more. */
  async drained(
    service: string,
    instance: string,
    deadlineMs: number,
    signal: AbortSignal,
  ): Promise<Drained> {
    const drains = await this.#ask(({ channel }) =>
      channel.call('drained', [service, instance, deadlineMs], signal),
    );
    return sumOfDrains(drains);
  }

  /** Tells all of them what a check says of an instance. */
  verdict(service: string, instance: string, healthy: boolean): void {
    void this.#ask(({ channel }) => channel.call('verdict', [service, instance, healthy]));
  }

  /** They take no more connections, and end when what they have is done, by the newest tables. */
  leave(graceMs: number): Promise<void> {
    return this.#end(graceMs, ({ channel }) => channel.call('leave', [graceMs]));
  }

  /** They end with the last request. */
  close(graceMs: number): Promise<void> {
    return this.#end(graceMs, ({ channel }) => channel.call('close', [graceMs]));
  }

  async #end(graceMs: number, tell: (worker: Worker) => Promise<void>): Promise<void> {
    this.#ending = true;
    const workers = await this.#turns.take(async () => [...this.#all]);
    await Promise.all(
      workers.map(async (worker) => {
        worker.leaving = true;
        const late = setTimeout(() => this.#kill(worker, 'it does not end'), graceMs + LIMITS.ping);
        await tell(worker).catch(() => undefined);
        worker.channel.disconnect();
        await new Promise((resolve) => {
          if (worker.child.exitCode !== null || worker.child.signalCode !== null) resolve(undefined);
          else worker.child.once('exit', resolve);
        });
        clearTimeout(late);
      }),
    );
    clearInterval(this.#pings);
  }

  /** One place, always taken: `serving` is called when a worker in it serves. */
  async #keep(serving: () => void): Promise<void> {
    let quick = 0;
    for (;;) {
      const worker = await this.#turns.take(async () => (this.#ending ? undefined : this.#start()));
      if (worker === undefined) return;
      const started = Date.now();
      worker.serves.then(serving, () => undefined);
      await worker.over;
      if (this.#ending) return;
      quick = Date.now() - started < LIMITS.quickEnd ? quick + 1 : 0;
      const wait = quick < 2 ? 0 : Math.min(LIMITS.slowestStart, 50 * 2 ** quick);
      this.#options.log('warn', 'a worker is replaced', { pid: worker.child.pid, wait });
      if (wait > 0) await delay(wait);
    }
  }

  /** What is sent after this comes after the tables that are sent here. */
  #start(): Worker {
    const { state, log, socketAt, unhealthy } = this.#options;
    const child = fork(WORKER, ['--state', state], {
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
        worker.leaving = true;
        failing();
      },
    };
    const channel = new Channel<WorkerCalls>(child, answers);
    const given = [...this.#tables.values()].map((table) =>
      channel.call('apply', [table, unhealthy(table.service)]).catch((error) => {
        // the others go on serving it; here the other services must not suffer
        log('error', 'a new worker refused a table', { service: table.service, error: String(error) });
      }),
    );
    const worker: Worker = {
      child,
      channel,
      leaving: false,
      over: Promise.race([channel.closed, failed]),
      serves: Promise.all([...given, channel.call('ping', [])]),
      unanswered: 0,
    };
    this.#all.add(worker);
    void channel.closed.then(() => {
      this.#all.delete(worker);
      this.#past.lost(worker);
    });
    child.once('exit', (code, signal) => {
      log(code === 0 ? 'info' : 'error', 'worker ended', { pid: child.pid, code, signal });
    });
    log('info', 'worker started', { pid: child.pid });
    return worker;
  }

  #ping(): void {
    for (const worker of this.#all) {
      if (worker.unanswered >= LIMITS.pings) {
        this.#kill(worker, 'it does not answer');
        continue;
      }
      worker.unanswered++;
      worker.channel.call('ping', []).then(
        () => {
          worker.unanswered = 0;
        },
        () => undefined,
      );
    }
  }

  #kill({ child }: Worker, why: string): void {
    this.#options.log('error', 'a worker is killed', { pid: child.pid, why });
    child.kill('SIGKILL');
  }

  /** The answers of those that live to give one. */
  async #ask<T>(ask: (worker: Worker) => Promise<T>): Promise<T[]> {
    const outcomes = await Promise.allSettled([...this.#all].map(ask));
    return outcomes.flatMap((outcome) => {
      if (outcome.status === 'fulfilled') return [outcome.value];
      if (outcome.reason instanceof Gone) return [];
      throw outcome.reason;
    });
  }
}

/** Beside this file when it is compiled, which it always is: Node 20 does not run TypeScript. */
const WORKER = fileURLToPath(new URL('./worker.js', import.meta.url));

function noWorker(): UnideployError {
  return new UnideployError(
    'UD_PROXY_FAILED',
    'the data plane has no worker at the moment',
    'why is in its log, proxy.log: it starts them again by itself',
  );
}
