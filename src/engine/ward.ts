import { FULL_WEIGHT } from '../domain/action.ts';
import type { Clock } from '../domain/clock.ts';
import type { Happening } from '../domain/journal.ts';
import { isAvailable } from '../domain/pool.ts';
import { mayFinish, sickOf } from '../domain/repair.ts';
import type { Service, Store } from '../store/port.ts';
import { findEvidence } from './evidence.ts';
import type { Examined } from './examiner.ts';
import type { Senses } from './observe.ts';

export interface WardParts extends Senses {
  store: Pick<Store, 'rollouts' | 'append' | 'audit'>;
  clock: Clock;
  /** told of every new journal entry, after it was written */
  onJournal: (rollout: number) => void;
}

/** Entries of the journal in which earlier controllers may have said that an instance is sick. */
const REMEMBERED = 500;

/**
 * Those that are known to be sick. One that is new gets no new requests any more, and what is to be found at it is written
 * down; one that has recovered before anything was done to it serves again.
 */
export class Ward {
  readonly #parts: WardParts;
  /** ids by service, as the journal has them */
  readonly #sick = new Map<string, Set<string>>();

  constructor(parts: WardParts) {
    this.#parts = parts;
  }

  /** Whether anything has changed. */
  async round(service: Service, examined: Examined[]): Promise<boolean> {
    const sick = this.#knownOf(service.name);
    for (const id of sick) if (!examined.some(({ instance }) => instance.id === id)) sick.delete(id);
    const fresh = examined.filter(({ diagnosis, instance }) => diagnosis && !sick.has(instance.id));
    const well = examined.filter((each) => sick.has(each.instance.id) && isWell(each));
    for (const each of well) await this.#release(service, each);
    // All of them first: evidence takes its time.
    for (const each of fresh) await this.#eject(service, each, examined);
    for (const [at, each] of fresh.entries()) await this.#writeDown(service, each, at === 0);
    return fresh.length + well.length > 0;
  }

  /** Of the last one that still answers some nobody takes its share. Without any shares requests wait in the data plane. */
  async #eject({ name }: Service, { instance: { id }, diagnosis }: Examined, all: Examined[]): Promise<void> {
    const others = all.some(
      (each) => each.instance.id !== id && !each.diagnosis && isAvailable(each.instance),
    );
    const answers = diagnosis !== null && mayFinish(diagnosis);
    if (others || !answers) await this.#parts.routing.quiet(name, id);
  }

  /** @param dumps of several at once, one memory says as much as all */
  async #writeDown(
    { name, supervision }: Service,
    { instance: { id }, diagnosis, machine }: Examined,
    dumps: boolean,
  ): Promise<void> {
    if (!diagnosis) return;
    const { treatment, cause } = sickOf(id, diagnosis, supervision);
    const evidence = await findEvidence(this.#parts, id, supervision.console);
    const dump = dumps && supervision.dump > 0 ? await this.#dump(id, supervision.dump) : null;
    const { sentence } = diagnosis;
    this.#journal(name, {
      event: 'sick',
      instance: id,
      cause,
      sentence,
      treatment,
      machine,
      dump,
      evidence,
    });
    this.#knownOf(name).add(id);
  }

  async #dump(id: string, limit: number): Promise<string | null> {
    return await this.#parts.hypervisor.dump(id, limit).catch(() => null);
  }

  async #release({ name }: Service, { instance }: Examined): Promise<void> {
    const { routing } = this.#parts;
    if (instance.routed && instance.weight === 0) await routing.shift(name, { [instance.id]: FULL_WEIGHT });
    this.#journal(name, { event: 'recovered', instance: instance.id });
    this.#knownOf(name).delete(instance.id);
  }

  #knownOf(service: string): Set<string> {
    const known = this.#sick.get(service) ?? this.#recall(service);
    this.#sick.set(service, known);
    return known;
  }

  #recall(service: string): Set<string> {
    const known = new Set<string>();
    for (const entry of this.#parts.store.audit(service, REMEMBERED)) {
      if (entry.event === 'sick') known.add(entry.instance);
      if (entry.event === 'recovered') known.delete(entry.instance);
    }
    return known;
  }

  /** In the journal of the last rollout: it is the one that has put the instance there. */
  #journal(service: string, happening: Happening): void {
    const { store, clock, onJournal } = this.#parts;
    const id = store.rollouts(service, 1)[0]?.id ?? 0;
    store.append({ id, service }, clock.now(), happening);
    onJournal(id);
  }
}

/** Nothing is wrong with it, and it says so itself. */
function isWell({ diagnosis, instance }: Examined): boolean {
  return diagnosis === null && instance.health === 'healthy' && instance.verified;
}
