import type { Action } from '../domain/action.ts';
import { proven } from '../domain/health.ts';
import type { ObservedInstance, ObservedPool } from '../domain/pool.ts';
import { difference, proofs, type Revision } from '../domain/revision.ts';
import type { AttachedVolume, Hypervisor, VirtualMachine } from '../hypervisor/port.ts';
import type { Monitor } from './monitor.ts';
import type { Routing } from './routing.ts';

export interface Senses {
  hypervisor: Hypervisor;
  routing: Routing;
  monitor: Monitor;
}

/**
 * The pool of a service as it really is: its machines, its table, and the instances' own answers.
 *
 * @param candidates revisions that an instance may be of, the target first; of two that are alike the first counts
 * @param acting the actions under way, by instance, as they were before anything was looked at
 * @param frozen those that are kept as evidence are members of no pool; who takes everything down sees them all the same
 */
export async function observe(
  { hypervisor, routing, monitor }: Omit<Senses, 'routing'> & { routing: Pick<Routing, 'status'> },
  service: string,
  candidates: Revision[],
  acting: ReadonlyMap<string, Action['kind']>,
  frozen: 'left out' | 'as stopped' = 'left out',
): Promise<ObservedPool> {
  const [machines, table] = await Promise.all([hypervisor.list(), routing.status(service)]);
  const instances = machines
    .filter(({ spec, state }) => spec.service === service && (state !== 'frozen' || frozen === 'as stopped'))
    .map((machine): ObservedInstance => {
      const { id, launchedAt } = machine.spec;
      const revision = candidates.find((candidate) => isOf(machine, candidate));
      const { health, bodies, since } = monitor.reading(id);
      const route = table?.routes.find(({ instance }) => instance === id);
      return {
        id,
        revision: revisionOf(machine, revision, route),
        verified: revision !== undefined && proven(proofs(revision), bodies),
        health,
        healthySince: health === 'healthy' ? since : null,
        state: machine.state === 'frozen' || isOver(machine) ? 'stopped' : machine.state,
        launchedAt,
        weight: route?.weight ?? 0,
        routed: route !== undefined,
        swappable: candidates[0] !== undefined && difference(machine.spec, candidates[0]) !== 'image',
        burdened: candidates[0] !== undefined && isBurdened(machine, candidates[0]),
        mislabelled: route !== undefined && revision !== undefined && route.revision !== revision.number,
        inFlight: route?.inFlight ?? 0,
        acting: acting.get(id) ?? null,
      };
    })
    .sort((a, b) => a.launchedAt - b.launchedAt || (a.id < b.id ? -1 : 1));
  return { instances, hold: table?.hold ?? false };
}

/**
 * One that has stopped does not say any more which volumes it had, nor does one whose monitor is silent where nobody has asked
 * it before: the table knows what it served.
 */
function revisionOf(
  { state, runState }: VirtualMachine,
  seen: Revision | undefined,
  route: { revision: number } | undefined,
): number | null {
  if (state === 'stopped') return route?.revision ?? seen?.number ?? null;
  return seen?.number ?? (runState === null ? route?.revision : null) ?? null;
}

/** Run states that a guest does not come back from; its process is kept, as evidence. */
const OVER = ['guest-panicked', 'internal-error', 'io-error', 'shutdown', 'watchdog'];

function isOver({ runState }: VirtualMachine): boolean {
  return runState !== null && OVER.includes(runState);
}

/** Whether the machine's image and attached volumes are those of the revision, no volume more and none less. */
export function isOf({ spec, volumes, state }: VirtualMachine, revision: Revision): boolean {
  const change = difference(spec, revision);
  if (change === 'image') return false;
  if (state !== 'running') return change === 'none';
  return keys(volumes) === keys(revision.volumes);
}

function isBurdened({ state, volumes }: VirtualMachine, target: Revision): boolean {
  const has = new Set(volumes.map(keyOf));
  const wanted = new Set(target.volumes.map(keyOf));
  return state === 'running' && has.size > wanted.size && [...wanted].every((each) => has.has(each));
}

/** The volumes as a set: one that was attached twice (by a controller that died meanwhile) is there, no more. */
function keys(volumes: AttachedVolume[]): string {
  return [...new Set(volumes.map(keyOf))].sort().join();
}

function keyOf({ name, digest }: AttachedVolume): string {
  return `${name} ${digest}`;
}
