import type { JournalEntry } from '../domain/journal.ts';
import type { ObservedPool } from '../domain/pool.ts';
import type { Revision } from '../domain/revision.ts';
import type { Rollout } from '../domain/rollout.ts';
import { observe } from '../engine/observe.ts';
import type { EngineParts } from '../engine/parts.ts';
import type { Service, Store } from '../store/port.ts';
import type { InstanceStatus, ServiceStatus } from './messages.ts';
import { needService } from './refusals.ts';

/** Revisions back to which the instances of a service are told apart. */
const RECENT = 10;
/** Entries of the journal, and rollouts, that are told of. */
const ENTRIES = 1000;
/** Of those, the ones in which it is looked who is sick. */
const RECENT_ENTRIES = 300;
const ROLLOUTS = 100;

/** What there is to see of the services: what runs now, and what was. */
export class Services {
  readonly #parts: EngineParts;
  readonly #store: Store;

  constructor(parts: EngineParts, store: Store) {
    this.#parts = parts;
    this.#store = store;
  }

  /** The pool of a service, its instances by any revision that they may be of: those of `first` first. */
  async pool(name: string, first: (number | null)[]): Promise<ObservedPool> {
    const recent = this.#store.revisions(name).slice(0, RECENT);
    const candidates = first
      .map((number) => (number === null ? null : this.#store.revision(name, number)))
      .filter((found) => found !== null);
    return await observe(this.#parts, name, [...candidates, ...recent], new Map());
  }

  async status(name: string): Promise<ServiceStatus> {
    const open = this.#store.openRollouts().find((rollout) => rollout.service === name) ?? null;
    const service = this.#store.service(name);
    const goal = service?.goal ?? open?.from ?? needService(this.#store, name).goal;
    const [pool, table, machines, data] = await Promise.all([
      this.pool(name, [goal.revision, open?.to.revision ?? null]),
      this.#parts.routing.status(name),
      this.#parts.hypervisor.list(),
      this.#parts.hypervisor.dataVolumes(),
    ]);
    const instances = pool.instances.map((instance): InstanceStatus => {
      const machine = machines.find(({ spec }) => spec.id === instance.id);
      const lastAnswer = this.#parts.monitor.reading(instance.id).last?.summary ?? null;
      return {
        ...instance,
        endpoint: machine?.endpoint ?? null,
        runState: machine?.runState ?? null,
        lastAnswer,
        usable: table?.routes.find((route) => route.instance === instance.id)?.usable ?? null,
      };
    });
    const { listen = null, traffic = null, requests = 0, failures = 0, held = 0 } = table ?? {};
    return {
      name,
      goal,
      listen,
      traffic,
      requests,
      failures,
      held,
      instances,
      sick: sickIn(this.#store.audit(name, RECENT_ENTRIES), instances),
      frozen: machines
        .filter(({ spec, state }) => spec.service === name && state === 'frozen')
        .map(({ spec }) => spec.id),
      data: data.filter(({ service: its }) => its === name),
      gaveUp: service?.gaveUp ?? null,
      open,
      warm: this.#warm(service),
    };
  }

  /** The last rollouts, and every revision; also of a service that was taken down. */
  history(name: string): { rollouts: Rollout[]; revisions: Revision[] } {
    const rollouts = this.#store.rollouts(name, ROLLOUTS);
    if (rollouts.length === 0) needService(this.#store, name);
    return { rollouts, revisions: this.#store.revisions(name) };
  }

  /** The last entries of the service's journal, over all rollouts. */
  audit(name: string): JournalEntry[] {
    if (this.#store.rollouts(name, 1).length === 0) needService(this.#store, name);
    return this.#store.audit(name, ENTRIES);
  }

  #warm(service: Service | null): ServiceStatus['warm'] {
    const warm = service?.warm;
    const revision = warm && this.#store.rollout(warm.rollout)?.from.revision;
    return warm && revision ? { revision, until: warm.until } : null;
  }
}

/** Those of the instances that are sick by the journal's last word on them. */
function sickIn(entries: JournalEntry[], instances: InstanceStatus[]): ServiceStatus['sick'] {
  const found = new Map<string, ServiceStatus['sick'][number]>();
  for (const entry of entries) {
    if (entry.event === 'recovered') found.delete(entry.instance);
    if (entry.event !== 'sick') continue;
    const { instance, cause, sentence } = entry;
    found.set(instance, { instance, cause, sentence });
  }
  return [...found.values()].filter(({ instance }) => instances.some(({ id }) => id === instance));
}
