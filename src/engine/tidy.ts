import type { Action } from '../domain/action.ts';
import type { Clock } from '../domain/clock.ts';
import { report } from '../errors.ts';
import type { VirtualMachine } from '../hypervisor/port.ts';
import type { Service, Store } from '../store/port.ts';
import type { Senses } from './observe.ts';

interface TidyParts extends Pick<Senses, 'hypervisor' | 'routing'> {
  store: Pick<Store, 'services' | 'openRollouts' | 'putService' | 'append'>;
  clock: Clock;
  onJournal: (rollout: number) => void;
}

/** Ends the instances that rollouts have left warm, when their time is over and no rollout wants them. */
export class Tidier {
  readonly #parts: TidyParts;
  readonly #tidying = new Map<string, Promise<void>>();

  constructor(parts: TidyParts) {
    this.#parts = parts;
  }

  /** Looks at every service once. */
  look(): void {
    const { store, clock } = this.#parts;
    const now = clock.now();
    const busy = new Set(store.openRollouts().map(({ service }) => service));
    for (const service of store.services()) {
      const { name, warm } = service;
      if (warm === null || now < warm.until || busy.has(name) || this.#tidying.has(name)) continue;
      // What could not be done, or not recorded, is done at a later look: the service still has its warm instances then.
      const tidying = this.#tidy(service)
        .catch(() => {})
        .finally(() => this.#tidying.delete(name));
      this.#tidying.set(name, tidying);
    }
  }

  /** Resolves when no instance of the service is being ended: a rollout may begin. */
  async idle(service: string): Promise<void> {
    await this.#tidying.get(service);
  }

  async #tidy(service: Service): Promise<void> {
    const { hypervisor, routing, store } = this.#parts;
    const { name, goal } = service;
    const table = await routing.status(name);
    const isWarm = ({ spec, state }: VirtualMachine) =>
      spec.service === name &&
      state !== 'frozen' &&
      (table?.routes.find(({ instance }) => instance === spec.id)?.weight ?? 0) === 0 &&
      table?.routes.find(({ instance }) => instance === spec.id)?.revision !== goal.revision;
    const machines = (await hypervisor.list()).filter(isWarm);
    await Promise.all(machines.map(({ spec }) => this.#retire(service, spec.id)));
    store.putService({ ...service, warm: null });
  }

  async #retire({ name, policy, warm }: Service, instance: string): Promise<void> {
    const { hypervisor, routing, store, clock, onJournal } = this.#parts;
    const rollout = { id: warm?.rollout ?? 0, service: name };
    const began = clock.now();
    const action: Action = { kind: 'retire', instance };
    store.append(rollout, began, { event: 'action-started', action, revision: null });
    try {
      await routing.drained(name, instance, policy.drain);
      await routing.drop(name, instance, 'refuse');
      await hypervisor.stop(instance, policy.stop);
      await hypervisor.remove(instance);
      store.append(rollout, clock.now(), { event: 'action-finished', action, ms: clock.now() - began });
    } catch (error) {
      const ms = clock.now() - began;
      store.append(rollout, clock.now(), { event: 'action-failed', action, ms, error: report(error) });
    }
    onJournal(rollout.id);
  }
}
