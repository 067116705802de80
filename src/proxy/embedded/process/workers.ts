import { setTimeout as delay } from 'node:timers/promises';
import { UnideployError } from '../../../errors.ts';
import type { Drained, Figures, RoutingTable, TableStatus } from '../../port.ts';
import { LIMITS } from '../limits.ts';
import { type Answers, type Channel, Gone } from './channel.ts';
import type { ServingCalls, WorkerCalls } from './messages.ts';
import { Past } from './past.ts';
import { sumOfDrains, sumOfFigures } from './sums.ts';
import { Turns } from './turns.ts';
import { type WorkerOptions, WorkerProcess } from './worker-process.ts';

export interface WorkersOptions extends WorkerOptions {
  count: number;
  /** instances that checks have taken out */
  unhealthy: (service: string) => string[];
}

/** The worker processes of one primary: told the same, summed up, and replaced when they die. */
export class Workers implements Answers<ServingCalls> {
  readonly #options: WorkersOptions;
  readonly #all = new Set<WorkerProcess>();
  /** in force, by service: what a new worker has to serve */
  readonly #tables = new Map<string, RoutingTable>();
  readonly #past = new Past();
  /** no worker is started while a table is on its way to the others */
  readonly #turns = new Turns();
  #pings: NodeJS.Timeout | undefined;
  #ending = false;

  constructor(options: WorkersOptions) {
    this.#options = options;
  }

  /** Resolves when all workers serve these tables. */
  async start(tables: RoutingTable[]): Promise<void> {
    for (const table of tables) this.#tables.set(table.service, table);
    this.#pings = setInterval(() => {
      for (const worker of this.#all) worker.ping();
    }, LIMITS.ping);
    const slots = Array.from({ length: this.#options.count });
    await Promise.all(slots.map(() => new Promise<void>((serving) => void this.#keep(serving))));
  }

  /** All workers take the table, or none does and the first refusal is thrown. One that dies gets it from its place's next. */
  async apply(table: RoutingTable, unhealthy: string[]): Promise<void> {
    const end = performance.now() + LIMITS.anyWorker;
    while (!(await this.#turns.take(() => this.#apply(table, unhealthy))) && !this.#ending) {
      if (performance.now() > end) throw noWorker();
      await delay(20);
    }
  }

  /** Whether any worker was there to take it. */
  async #apply(table: RoutingTable, unhealthy: string[]): Promise<boolean> {
    const workers = [...this.#all];
    const outcomes = await Promise.allSettled(
      workers.map(({ channel }) => channel.call('apply', [table, unhealthy])),
    );
    const refused: { worker: WorkerProcess; reason: unknown }[] = [];
    let taken = 0;
    for (const [i, worker] of workers.entries()) {
      const outcome = outcomes[i];
      if (outcome === undefined || worker.leaving) continue;
      if (outcome.status === 'fulfilled') taken++;
      else if (!(outcome.reason instanceof Gone)) refused.push({ worker, reason: outcome.reason });
    }
    const [first] = refused;
    if (taken === 0 && first) throw first.reason;
    if (taken === 0) return false;
    this.#tables.set(table.service, table);
    for (const { worker, reason } of refused) worker.kill(`it refused a table: ${reason}`);
    return true;
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
    this.#ask(({ channel }) => channel.call('verdict', [service, instance, healthy])).catch((error) =>
      this.#options.log('error', 'a verdict', { service, instance, error: String(error) }),
    );
  }

  /** They take no more connections, and end when what they have is done, by the newest tables. */
  leave(graceMs: number): Promise<void> {
    return this.#end(graceMs, (channel) => channel.call('leave', [graceMs]));
  }

  /** They end with the last request. */
  close(graceMs: number): Promise<void> {
    return this.#end(graceMs, (channel) => channel.call('close', [graceMs]));
  }

  async #end(graceMs: number, tell: (channel: Channel<WorkerCalls>) => Promise<void>): Promise<void> {
    this.#ending = true;
    const workers = await this.#turns.take(async () => [...this.#all]);
    await Promise.all(workers.map((worker) => worker.end(tell, graceMs + LIMITS.ping)));
    clearInterval(this.#pings);
  }

  /** One place, always taken: `serving` is called when a worker in it serves. */
  async #keep(serving: () => void): Promise<void> {
    let quick = 0;
    for (;;) {
      const worker = await this.#turns.take(async () => (this.#ending ? undefined : this.#start(serving)));
      if (worker === undefined) return;
      const started = performance.now();
      await worker.over;
      if (this.#ending) return;
      quick = performance.now() - started < LIMITS.quickEnd ? quick + 1 : 0;
      const wait = quick < 2 ? 0 : Math.min(LIMITS.slowestStart, 50 * 2 ** quick);
      this.#options.log('warn', 'a worker is replaced', { pid: worker.pid, wait });
      if (wait > 0) await delay(wait);
    }
  }

  /** What is sent after this comes after the tables that are sent here. */
  #start(serving: () => void): WorkerProcess {
    const { log, unhealthy } = this.#options;
    const worker = new WorkerProcess(this.#options);
    const { channel } = worker;
    const given = [...this.#tables.values()].map((table) =>
      channel.call('apply', [table, unhealthy(table.service)]).catch((error) => {
        // the others go on serving it; here the other services must not suffer
        log('error', 'a new worker refused a table', { service: table.service, error: String(error) });
      }),
    );
    Promise.all([...given, channel.call('ping', [])]).then(serving, () => undefined);
    this.#all.add(worker);
    void channel.closed.then(() => {
      this.#all.delete(worker);
      this.#past.lost(worker);
    });
    return worker;
  }

  /** The answers of those that live to give one. */
  async #ask<T>(ask: (worker: WorkerProcess) => Promise<T>): Promise<T[]> {
    const outcomes = await Promise.allSettled([...this.#all].map(ask));
    return outcomes.flatMap((outcome) => {
      if (outcome.status === 'fulfilled') return [outcome.value];
      if (outcome.reason instanceof Gone) return [];
      throw outcome.reason;
    });
  }
}

function noWorker(): UnideployError {
  return new UnideployError(
    'UD_PROXY_FAILED',
    'the data plane has no worker at the moment',
    'why is in its log, proxy.log: it starts them again by itself',
  );
}
