import type { Happening } from '../domain/journal.ts';
import { type DataVolume, dataOf, difference, type Revision } from '../domain/revision.ts';
import type { Rollout, RolloutKind } from '../domain/rollout.ts';
import { report, UnideployError } from '../errors.ts';
import type { DataSnapshot, Endpoint, Hypervisor } from '../hypervisor/port.ts';
import type { Teller } from '../probe/port.ts';

export interface Keeping {
  hypervisor: Hypervisor;
  tell: Teller;
}

/** Milliseconds in which a guest has everything on its disk and holds still, and in which it goes on. */
const HOLDS_STILL = 10_000;
/** How often it is told to go on. */
const THAWS = 3;

/** Those that may bring other code. A restart is what is left where an instance does not even let its state be kept. */
const CHANGING: readonly RolloutKind[] = ['rollout', 'up', 'rollback'];

/** The name of the state that is kept before a rollout. */
function beforeRollout(id: number): string {
  return `before-rollout-${id}`;
}

/** The name of the state that is kept when another one is put in its place. */
export function beforeRevert(id: number): string {
  return `before-revert-${id}`;
}

/**
 * What happens to the disks before a rollout touches the instance that has them: states are kept where that is wanted, and
 * those that are to be larger grow where the instance stays. It may be done again after it was cut short.
 */
export async function prepareData(
  parts: Keeping,
  rollout: Pick<Rollout, 'id' | 'service' | 'kind'>,
  from: Revision | null,
  to: Revision | null,
  note: (happening: Happening) => void,
): Promise<void> {
  const wanted = new Map([...dataOf(from), ...dataOf(to)].map((volume) => [volume.name, volume]));
  if (wanted.size === 0 || !CHANGING.includes(rollout.kind)) return;
  const { service, id } = rollout;
  const there = (await parts.hypervisor.dataVolumes()).filter((volume) => volume.service === service);
  for (const { name: volume, size } of there) {
    const policy = wanted.get(volume);
    if (policy?.snapshot === 'before-rollout') {
      const kept = await keepState(parts, service, policy, beforeRollout(id));
      note({
        event: 'data-kept',
        volume,
        snapshot: kept.snapshot.name,
        still: kept.still,
        by: null,
      });
    }
    const larger = dataOf(to).find(({ name }) => name === volume)?.size ?? 0;
    const stays = from !== null && to !== null && difference(from, to) !== 'image';
    if (larger <= size || !stays) continue;
    await parts.hypervisor.growData(service, volume, larger);
    note({ event: 'data-grown', volume, from: size, to: larger, by: null });
  }
}

/** A state that was kept. */
export interface Kept {
  snapshot: DataSnapshot;
  /** whether the guest held still: true, or why not; null: nobody has asked it, or there is none */
  still: true | string | null;
}

/**
 * Keeps the state of a disk. A guest that can is told to write everything and to hold still meanwhile; of one that does not
 * the state is what its disk would be after a loss of power.
 */
export async function keepState(
  { hypervisor, tell }: Keeping,
  service: string,
  { name, keep, freeze, thaw }: Pick<DataVolume, 'name' | 'keep' | 'freeze' | 'thaw'>,
  snapshot: string,
): Promise<Kept> {
  const keepIt = () => hypervisor.snapshotData(service, name, snapshot, keep);
  const { done, still } = await stillMeanwhile({ hypervisor, tell }, service, { name, freeze, thaw }, keepIt);
  return { snapshot: done, still };
}

/** Has the guest that has a disk hold still, where it can, while something short is done; it goes on whatever comes of that. */
export async function stillMeanwhile<T>(
  { hypervisor, tell }: Keeping,
  service: string,
  { name, freeze, thaw }: Pick<DataVolume, 'name' | 'freeze' | 'thaw'>,
  act: () => Promise<T>,
): Promise<{ done: T; still: Kept['still'] }> {
  const endpoint = await guestOf(hypervisor, service, name);
  if (endpoint === null || freeze === null || thaw === null) return { done: await act(), still: null };
  const still = await tell(endpoint, freeze, HOLDS_STILL).then(
    () => true as const,
    (error: unknown) => report(error).message,
  );
  try {
    return { done: await act(), still };
  } finally {
    // Also one that did not answer: it may have heard.
    await goOn(tell, endpoint, thaw, still === true);
  }
}

/** Where the guest that has the disk is reached; null: none has it. */
async function guestOf(hypervisor: Hypervisor, service: string, name: string): Promise<Endpoint | null> {
  const volumes = await hypervisor.dataVolumes();
  const holder = volumes.find((each) => each.service === service && each.name === name)?.attachedTo;
  if (!holder) return null;
  return (await hypervisor.find(holder))?.endpoint ?? null;
}

/** @throws UD_GUEST_UNHEALTHY for one that holds still and does not go on */
async function goOn(tell: Teller, endpoint: Endpoint, path: string, holds: boolean): Promise<void> {
  let said: unknown;
  for (let n = 0; n < (holds ? THAWS : 1); n++) {
    try {
      return await tell(endpoint, path, HOLDS_STILL);
    } catch (error) {
      said = error;
    }
  }
  if (!holds) return;
  throw new UnideployError(
    'UD_GUEST_UNHEALTHY',
    `a guest that was told to hold still does not go on: ${report(said).message}`,
    'look at its console: unideploy logs; restart it if it does not answer',
    { cause: said },
  );
}
