import { dataOf, type Revision } from '../domain/revision.ts';
import { beforeRevert, type Kept, keepState } from '../engine/data.ts';
import type { EngineParts } from '../engine/parts.ts';
import { UnideployError } from '../errors.ts';
import type { DataVolumeState } from '../hypervisor/port.ts';
import type { Store } from '../store/port.ts';
import type { Deployments } from './deployments.ts';
import type { Reverted } from './messages.ts';
import type { Orders } from './orders.ts';
import { wouldShrink } from './refusals.ts';
import { noteOf } from './service-journal.ts';

/** Where no revision says how many states are kept. */
const KEEP_ALL = 1000;

interface DataVolumesParts extends Pick<EngineParts, 'hypervisor' | 'clock' | 'tell' | 'onJournal'> {
  store: Store;
  orders: Pick<Orders, 'open'>;
  deployments: Pick<Deployments, 'revert'>;
}

/** What people do to data volumes; each leaves a line in the service's journal, with whose word it was. */
export class DataVolumes {
  readonly #parts: DataVolumesParts;

  constructor(parts: DataVolumesParts) {
    this.#parts = parts;
  }

  /**
   * Makes a data volume what it was at a snapshot: by a rollout where the service wants the volume, else at once.
   * @throws UD_UNKNOWN_VOLUME, UD_UNKNOWN_SNAPSHOT
   */
  async revert(name: string, volume: string, snapshot: string, performer: string): Promise<Reverted> {
    const { snapshots } = await this.#need(name, volume);
    if (!snapshots.some((each) => each.name === snapshot)) {
      const known = snapshots.map((each) => each.name).join(', ') || 'none';
      throw new UnideployError(
        'UD_UNKNOWN_SNAPSHOT',
        `data volume ${volume} of ${name} has no snapshot ${snapshot}; it has ${known}`,
        `choose one of: unideploy volume snapshots ${volume}`,
      );
    }
    const { hypervisor, clock, deployments } = this.#parts;
    const started = await deployments.revert(name, { volume, snapshot }, performer);
    if (started) return started;
    const aside = beforeRevert(Math.floor(clock.now() / 1000));
    await hypervisor.revertData(name, volume, snapshot, aside);
    noteOf(this.#parts, name, { event: 'data-reverted', volume, snapshot, aside, by: performer });
    return { kind: 'reverted', volume, snapshot, aside };
  }

  /** Removes a data volume for good. @throws UD_DATA_IN_USE while the service wants it */
  async remove(name: string, volume: string, performer: string): Promise<void> {
    const { hypervisor } = this.#parts;
    const open = this.#parts.orders.open(name);
    const wanting = [this.#parts.store.service(name)?.goal.revision, open?.to.revision, open?.from.revision]
      .map((number) => this.#revision(name, number ?? null))
      .find((revision) => dataOf(revision).some((each) => each.name === volume));
    if (wanting)
      throw new UnideployError(
        'UD_DATA_IN_USE',
        `data volume ${volume} of ${name} is one of revision ${wanting.number}, which the service is to run`,
        `take the service down first: unideploy down --service ${name}`,
      );
    await this.#need(name, volume);
    await hypervisor.removeData(name, volume);
    noteOf(this.#parts, name, { event: 'data-removed', volume, by: performer });
  }

  /** Makes a data volume larger. @throws UD_USAGE where it would shrink */
  async grow(name: string, volume: string, size: number, performer: string): Promise<void> {
    const { hypervisor } = this.#parts;
    const found = await this.#need(name, volume);
    if (size < found.size) throw wouldShrink(name, volume, found.size, size);
    await hypervisor.growData(name, volume, size);
    if (size > found.size)
      noteOf(this.#parts, name, { event: 'data-grown', volume, from: found.size, to: size, by: performer });
  }

  /** Keeps the state of a data volume at this moment, until somebody forgets it. */
  async snapshot(name: string, volume: string, snapshot: string | null, performer: string): Promise<Kept> {
    const { clock } = this.#parts;
    const service = this.#parts.store.service(name);
    const target = this.#revision(name, service?.goal.revision ?? null);
    const policy = dataOf(target).find((each) => each.name === volume);
    const told = snapshot ?? `kept-${Math.floor(clock.now() / 1000)}`;
    const { keep = KEEP_ALL, freeze = null, thaw = null } = policy ?? {};
    await this.#need(name, volume);
    const kept = await keepState(this.#parts, name, { name: volume, keep, freeze, thaw }, told);
    noteOf(this.#parts, name, {
      event: 'data-kept',
      volume,
      snapshot: told,
      still: kept.still,
      by: performer,
    });
    return kept;
  }

  /** Keeps a state of a data volume no more. */
  async forget(name: string, volume: string, snapshot: string, performer: string): Promise<void> {
    await this.#parts.hypervisor.forgetData(name, volume, snapshot);
    noteOf(this.#parts, name, { event: 'data-forgotten', volume, snapshot, by: performer });
  }

  async #need(service: string, volume: string): Promise<DataVolumeState> {
    const all = await this.#parts.hypervisor.dataVolumes();
    const found = all.find((each) => each.service === service && each.name === volume);
    if (!found) throw unknownData(service, volume);
    return found;
  }

  #revision(service: string, number: number | null): Revision | null {
    return number === null ? null : this.#parts.store.revision(service, number);
  }
}

function unknownData(service: string, volume: string): UnideployError {
  return new UnideployError(
    'UD_UNKNOWN_VOLUME',
    `${service} has no data volume ${volume}`,
    `list those there are: unideploy volume ls --service ${service}`,
  );
}
