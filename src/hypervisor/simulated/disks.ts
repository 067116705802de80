import { dataOf } from '../../domain/revision.ts';
import { UnideployError } from '../../errors.ts';
import type { DataSnapshot, DataVolumeState, InstanceSpec } from '../port.ts';

interface Disk {
  service: string;
  name: string;
  size: number;
  holder: string | null;
  snapshots: DataSnapshot[];
}

interface Named {
  service: string;
  volume: string;
}

/** The data volumes of guests that exist only as a model. One that two machines would have at once is an error here, too. */
export class SimulatedDisks {
  readonly #disks = new Map<string, Disk>();

  /** @throws UD_DATA_IN_USE */
  attach(spec: InstanceSpec, isAlive: (id: string) => boolean): void {
    const wanted = this.#of(spec);
    for (const { holder, name, service } of wanted)
      if (holder !== null && holder !== spec.id && isAlive(holder)) throw inUse(service, name, holder, spec);
    for (const disk of wanted) disk.holder = spec.id;
  }

  /** A machine that is about to run: none other has taken its disks since. @throws UD_DATA_IN_USE */
  expectToHold(spec: InstanceSpec): void {
    for (const { holder, name, service } of this.#of(spec))
      if (holder !== spec.id) throw inUse(service, name, holder ?? 'nobody', spec);
  }

  /** As it was found. */
  adopt(spec: InstanceSpec): void {
    for (const disk of this.#of(spec)) disk.holder = spec.id;
  }

  all(isAlive: (id: string) => boolean): DataVolumeState[] {
    return [...this.#disks.values()].map(({ service, name, size, holder, snapshots }) => ({
      ...{ service, name, size, used: size, snapshots: [...snapshots], damaged: false },
      attachedTo: holder !== null && isAlive(holder) ? holder : null,
    }));
  }

  snapshot(named: Named, snapshot: string, keep: number, at: number): DataSnapshot {
    const disk = this.#need(named);
    const made = disk.snapshots.find(({ name }) => name === snapshot) ?? { name: snapshot, at };
    disk.snapshots = [...disk.snapshots.filter(({ name }) => name !== snapshot), made].slice(-keep);
    return made;
  }

  /** What is on a disk is not part of the model. @throws UD_UNKNOWN_SNAPSHOT */
  revert(named: Named, snapshot: string, aside: string, at: number): void {
    if (!this.#need(named).snapshots.some(({ name }) => name === snapshot))
      throw new UnideployError(
        'UD_UNKNOWN_SNAPSHOT',
        `data volume ${named.volume} of ${named.service} has no snapshot ${snapshot}`,
        'this was simulated',
      );
    this.snapshot(named, aside, Number.MAX_SAFE_INTEGER, at);
  }

  forget(named: Named, snapshot: string): void {
    const disk = this.#need(named);
    disk.snapshots = disk.snapshots.filter(({ name }) => name !== snapshot);
  }

  grow(named: Named, size: number): void {
    const disk = this.#need(named);
    disk.size = Math.max(disk.size, size);
  }

  /** @throws UD_UNKNOWN_VOLUME, and for one that is there UD_COPY_FAILED: a model has no bytes */
  copied(named: Named): never {
    const { name } = this.#need(named);
    throw new UnideployError(
      'UD_COPY_FAILED',
      `data volume ${name} has nothing to copy`,
      'this was simulated',
    );
  }

  remove({ service, volume }: Named): void {
    this.#disks.delete(`${service}/${volume}`);
  }

  #of(spec: InstanceSpec): Disk[] {
    return dataOf(spec).map(({ name, size }) => {
      const key = `${spec.service}/${name}`;
      const disk = this.#disks.get(key) ?? {
        ...{ service: spec.service, name, size, holder: null, snapshots: [] },
      };
      this.#disks.set(key, disk);
      return disk;
    });
  }

  #need({ service, volume }: Named): Disk {
    const disk = this.#disks.get(`${service}/${volume}`);
    if (disk) return disk;
    throw new UnideployError(
      'UD_UNKNOWN_VOLUME',
      `${service} has no data volume ${volume}`,
      'this was simulated',
    );
  }
}

function inUse(service: string, name: string, holder: string, { id }: InstanceSpec): UnideployError {
  return new UnideployError(
    'UD_DATA_IN_USE',
    `data volume ${name} of ${service} is attached to ${holder}, and ${id} would have it, too`,
    'this was simulated',
  );
}
