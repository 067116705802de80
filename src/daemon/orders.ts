import { promotable } from '../domain/gate.ts';
import type { Happening } from '../domain/journal.ts';
import { isReady } from '../domain/pool.ts';
import type { Rollout } from '../domain/rollout.ts';
import type { EngineParts } from '../engine/parts.ts';
import { UnideployError } from '../errors.ts';
import type { Store } from '../store/port.ts';
import { needService, nothingOpen } from './refusals.ts';
import type { Services } from './services.ts';

type Order = Extract<Happening, { event: 'ordered' | 'paused' | 'resumed' }>;

/** What people tell a rollout that is under way. An order stands in the journal, and the engine obeys it there. */
export class Orders {
  readonly #parts: EngineParts;
  readonly #store: Store;
  readonly #services: Services;

  constructor(parts: EngineParts, store: Store, services: Services) {
    this.#parts = parts;
    this.#store = store;
    this.#services = services;
  }

  /** The rollout of a service that is under way; null: none is. */
  open(name: string): Rollout | null {
    return this.#store.openRollouts().find(({ service }) => service === name) ?? null;
  }

  /**
   * Opens the gate that a rollout stands at; `full`: that one and all that would come.
   * @throws UD_NOTHING_OPEN, UD_PROMOTE_REFUSED
   */
  async promote(name: string, full: boolean, performer: string): Promise<Rollout> {
    const rollout = this.#needOpen(name, 'promote');
    const refuse = (why: string, next: string) => {
      throw new UnideployError('UD_PROMOTE_REFUSED', `rollout ${rollout.id} of ${name} ${why}`, next);
    };
    const look = `unideploy status --service ${name}`;
    if (rollout.direction === 'back') refuse('is going back', `see how it ends: ${look} --watch`);
    if (rollout.paused)
      refuse(`is paused by ${rollout.paused.by}`, `resume it first: unideploy resume --service ${name}`);
    if (promotable(rollout.gates).length === 0 && !full)
      refuse('stands at no gate', `see what it does: ${look} --watch`);
    const bad = await this.#unready(rollout);
    if (bad !== null)
      refuse(
        `cannot be promoted: ${bad}`,
        `look at them (${look}), or go back: unideploy abort --service ${name}`,
      );
    return this.give(rollout, { event: 'ordered', how: full ? 'promote-full' : 'promote', by: performer });
  }

  /** Has a rollout stand still when what is under way has ended; again is no change. */
  pause(name: string, performer: string): Rollout {
    const rollout = this.#needOpen(name, 'pause');
    return rollout.paused ? rollout : this.give(rollout, { event: 'paused', by: performer });
  }

  resume(name: string, performer: string): Rollout {
    const rollout = this.#needOpen(name, 'resume');
    return rollout.paused ? this.give(rollout, { event: 'resumed', by: performer }) : rollout;
  }

  /** Has a rollout go back; null: none is under way, and nothing was changed. */
  abort(name: string, performer: string): Rollout | null {
    const rollout = this.open(name);
    return rollout && this.give(rollout, { event: 'ordered', how: 'abort', by: performer });
  }

  /** Writes an order down, and wakes who obeys it. */
  give(rollout: Rollout, order: Order): Rollout {
    this.#store.append(rollout, this.#parts.clock.now(), order);
    this.#parts.onJournal(rollout.id);
    return rollout;
  }

  /** What keeps the new revision from more traffic; null: nothing. */
  async #unready({ service, to }: Rollout): Promise<string | null> {
    const { instances } = await this.#services.pool(service, [to.revision]);
    const fresh = instances.filter(({ revision, routed }) => revision === to.revision && routed);
    const bad = fresh.filter((i) => !isReady(i, to.revision));
    if (bad.length === 0) return null;
    const said = bad.map(
      ({ id }) => `${id}: ${this.#parts.monitor.reading(id).last?.summary ?? 'no answer yet'}`,
    );
    return `${bad.length} of ${fresh.length} instances of revision ${to.revision} not healthy (${said.join('; ')})`;
  }

  #needOpen(name: string, verb: string): Rollout {
    const open = this.open(name);
    if (open) return open;
    const [last] = this.#store.rollouts(name, 1);
    if (!last) needService(this.#store, name);
    const ended = last ? `; the last one, rollout ${last.id}, ended ${last.state}` : '';
    throw nothingOpen(
      `no rollout of ${name} is under way that one could ${verb}${ended}`,
      `see the rollouts there were: unideploy history --service ${name}`,
    );
  }
}
