import type { Clock } from '../domain/clock.ts';
import type { Fence } from '../domain/fence.ts';
import type { Progress } from '../domain/progress.ts';
import {
  mismatch,
  refusedSnapshot,
  type SavedMachine,
  type Snapshot,
  snapshotId,
} from '../domain/snapshot.ts';
import { UnideployError } from '../errors.ts';
import type { Hypervisor } from '../hypervisor/port.ts';
import type { SnapshotCatalogue } from '../snapshots/catalogue.ts';
import type { Store } from '../store/port.ts';
import type { ListedSnapshot, ShownSnapshot, TakeRequest } from './messages.ts';

interface SnapshotParts {
  catalogue: SnapshotCatalogue;
  hypervisor: Pick<Hypervisor, 'list' | 'save'>;
  store: Pick<Store, 'service' | 'revisions' | 'openRollouts'>;
  fence: Fence;
  clock: Pick<Clock, 'now'>;
}

/** Takes, lists and removes snapshots of whole instances. */
export class Snapshots {
  readonly #parts: SnapshotParts;

  constructor(parts: SnapshotParts) {
    this.#parts = parts;
  }

  /** Saves an instance while it serves; nothing stays of one that is cancelled, or fails. */
  async create(
    service: string,
    { instance, memory, performer }: TakeRequest,
    report: (progress: Progress) => void,
    signal: AbortSignal,
  ): Promise<ShownSnapshot> {
    const { catalogue, hypervisor, clock, fence } = this.#parts;
    const saved = await this.#which(service, instance);
    const createdAt = clock.now();
    const id = snapshotId(saved, createdAt);
    fence.check();
    const draft = await catalogue.begin(service, id);
    try {
      const machine = await hypervisor.save(saved, { folder: draft.folder, memory, report, signal });
      const revision = this.#revisionOf(service, saved, machine);
      const record = { ...machine, id, service, instance: saved, revision, createdAt, createdBy: performer };
      fence.check();
      return shown(await draft.finish(record));
    } finally {
      await draft.discard();
    }
  }

  async list(service: string): Promise<ListedSnapshot[]> {
    const listed = await this.#parts.catalogue.list(service);
    return listed.map(({ id, snapshot }) =>
      snapshot ? { ...shown(snapshot), damaged: false } : { id, damaged: true },
    );
  }

  /** @throws UD_LOCKED while an instance is being brought back from it */
  async remove(service: string, id: string): Promise<void> {
    const { catalogue, store, fence } = this.#parts;
    const listed = await catalogue.list(service);
    // Also one that is damaged.
    if (!listed.some((each) => each.id === id)) await catalogue.need(service, id);
    const user = store
      .openRollouts()
      .find((each) => each.service === service && each.restore?.snapshot === id);
    if (user)
      throw new UnideployError(
        'UD_LOCKED',
        `rollout ${user.id} of ${service} brings an instance back from snapshot ${id}`,
        'wait for its end: unideploy wait',
      );
    fence.check();
    await catalogue.remove(service, id);
  }

  /** @throws UD_UNKNOWN_INSTANCE */
  async #which(service: string, instance: string | null): Promise<string> {
    const machines = await this.#parts.hypervisor.list();
    const own = machines.filter(({ spec, state }) => spec.service === service && state === 'running');
    const [only] = instance === null ? own : own.filter(({ spec }) => spec.id === instance);
    if (only && (instance !== null || own.length === 1)) return only.spec.id;
    const ids = own.map(({ spec }) => spec.id).join(', ') || 'none';
    throw new UnideployError(
      'UD_UNKNOWN_INSTANCE',
      instance === null
        ? `which instance of ${service}? Running are: ${ids}`
        : `${service} has no running instance ${instance}; running are: ${ids}`,
      'name one of them: unideploy snapshot create INSTANCE',
    );
  }

  /** The revision that the instance was of in that moment: of two alike the one that the service has. */
  #revisionOf(service: string, instance: string, { spec }: SavedMachine): number {
    const { store } = this.#parts;
    const alike = store.revisions(service).filter((revision) => mismatch({ spec }, revision) === null);
    const goal = store.service(service)?.goal.revision;
    const found = alike.find(({ number }) => number === goal) ?? alike[0];
    if (found) return found.number;
    throw refusedSnapshot(
      `${instance} was of no revision of ${service} when it was saved: its volumes were just being exchanged`,
      'take the snapshot when the rollout has ended: unideploy wait',
    );
  }
}

function shown(snapshot: Snapshot): ShownSnapshot {
  const { id, service, instance, revision, createdAt, createdBy, pausedMs, qemu, disk, memory } = snapshot;
  const bytes = (disk?.bytes ?? 0) + (memory?.bytes ?? 0);
  return {
    ...{ id, service, instance, revision, createdAt, createdBy, pausedMs, qemu, bytes },
    disk: disk !== null,
    memory: memory !== null,
  };
}
