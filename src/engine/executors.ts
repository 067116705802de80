import type { Action } from '../domain/action.ts';
import type { Clock } from '../domain/clock.ts';
import type { Happening } from '../domain/journal.ts';
import { HOPELESS_GRACE, mayFinish } from '../domain/repair.ts';
import { type CodeVolume, dataOf, proofs, type Revision } from '../domain/revision.ts';
import { goal, type Rollout } from '../domain/rollout.ts';
import { UnideployError } from '../errors.ts';
import type {
  AttachedVolume,
  Endpoint,
  Hypervisor,
  InstanceSpec,
  VirtualMachine,
} from '../hypervisor/port.ts';
import { beforeRevert } from './data.ts';
import { isOf, type Senses } from './observe.ts';
import type { Templates } from './templates.ts';

export interface Task extends Senses {
  clock: Clock;
  templates: Templates;
  rollout: Rollout;
  /** the revision the rollout is moving to in its present direction; null when no instance is to be left */
  target: Revision | null;
  /** every code volume that the service's instances may have attached */
  volumes: CodeVolume[];
  /** writes into the rollout's journal, and what the rollout is from then on */
  note: (happening: Happening, changes?: Partial<Rollout>) => void;
}

type Executors = {
  [K in Action['kind']]: (action: Extract<Action, { kind: K }>, task: Task) => Promise<void>;
};

/** How each action is done. Each may be repeated after it was cut short at any point. */
const executors: Executors = { launch, admit, drain, retire, swapVolume, shift };

/** Performs one action; rejects with an UnideployError that says what did not work. */
export async function execute<K extends Action['kind']>(
  action: Extract<Action, { kind: K }>,
  task: Task,
): Promise<void> {
  await executors[action.kind as K](action, task);
}

async function launch({ instance }: { instance: string }, task: Task): Promise<void> {
  const { templates, clock, rollout, note } = task;
  await revertData(task);
  const target = needTarget(task.target);
  const { image, machine, volumes, checks, data, number } = target;
  const spec: InstanceSpec = {
    ...{ image, machine, volumes, checks },
    ...(data && { data }),
    id: instance,
    service: rollout.service,
    revision: number,
    rollout: rollout.id,
    launchedAt: clock.now(),
  };
  // What takes its place on the way back boots.
  if (rollout.restore && rollout.direction === 'forward')
    return await templates.restore({ ...spec, snapshot: rollout.restore.snapshot }, rollout.health);
  const several = async () => (await missing(target, task)) > 1;
  await templates.launch(spec, { rollout: rollout.id, health: rollout.health, several, note });
}

/**
 * Once: what the next instance has written since is not to be taken back with it. Where it cannot be started afterwards, the
 * way back does not undo this: what a disk holds changes by a word alone.
 */
async function revertData({ hypervisor, rollout, note }: Task): Promise<void> {
  const { service, revert, direction } = rollout;
  if (!revert || direction === 'back') return;
  const aside = beforeRevert(rollout.id);
  await hypervisor.revertData(service, revert.volume, revert.snapshot, aside);
  note({ event: 'data-reverted', ...revert, aside, by: null }, { revert: undefined });
}

/** How many instances of the target are to be started yet. */
async function missing(target: Revision, { hypervisor, rollout }: Task): Promise<number> {
  const machines = await hypervisor.list();
  const there = machines.filter(
    (machine) =>
      machine.spec.service === rollout.service &&
      (machine.state === 'running' || machine.state === 'starting') &&
      isOf(machine, target),
  );
  return goal(rollout).replicas - there.length;
}

async function admit({ instance, weight }: { instance: string; weight: number }, task: Task): Promise<void> {
  const endpoint = await ask(instance, task);
  const revision = needTarget(task.target).number;
  await task.routing.put(task.rollout.service, { instance, revision, ...endpoint, weight });
}

/** One more verification, just before the instance gets its share; returns where it answered. */
async function ask(instance: string, task: Task): Promise<Endpoint> {
  const revision = needTarget(task.target);
  const { endpoint, ...machine } = await find(task, instance);
  const { health } = task.rollout;
  if (
    endpoint &&
    (await task.monitor.until({ ...machine, endpoint }, proofs(revision), health, health.timeout))
  )
    return endpoint;
  throw unverified(instance, revision, health.timeout, task);
}

async function drain({ instance }: { instance: string }, { routing, rollout }: Task): Promise<void> {
  await routing.quiet(rollout.service, instance);
  await routing.drained(rollout.service, instance, rollout.policy.drain);
}

async function retire(
  { instance }: { instance: string },
  { hypervisor, routing, rollout, target, note }: Task,
): Promise<void> {
  const { service, policy } = rollout;
  const sick = rollout.sick.find((each) => each.instance === instance);
  const data = await dataIn(hypervisor, instance);
  // One that is kept would keep the disk that its successor needs.
  const freezes = data.length === 0 && sick?.treatment === 'freeze' && (await isThere(hypervisor, instance));
  // One that is kept keeps its connections: what waits there for an answer would wait in vain.
  if (freezes) await routing.drained(service, instance, 0);
  await routing.drop(service, instance, target === null ? 'refuse' : 'wait');
  if (freezes) return await freeze(hypervisor, service, instance);
  const grace = sick && !mayFinish(sick) ? Math.min(policy.stop, HOPELESS_GRACE) : policy.stop;
  const how = await hypervisor.stop(instance, grace);
  if (how === 'forced' && data.length > 0) note({ event: 'data-unwritten', instance, volumes: data });
  await hypervisor.remove(instance);
}

/** Names of the data volumes that an instance was started with. */
async function dataIn(hypervisor: Hypervisor, instance: string): Promise<string[]> {
  return dataOf((await hypervisor.find(instance))?.spec).map(({ name }) => name);
}

/** Of one whose process is gone nothing is left that its console and its journal do not tell. */
async function isThere(hypervisor: Hypervisor, instance: string): Promise<boolean> {
  const machine = await hypervisor.find(instance);
  return machine !== null && machine.state !== 'stopped';
}

/** Keeps the guest as it stands. One of a service is kept: each holds its memory. */
async function freeze(hypervisor: Hypervisor, service: string, instance: string): Promise<void> {
  await hypervisor.freeze(instance);
  for (const { spec, state } of await hypervisor.list()) {
    if (spec.service !== service || state !== 'frozen' || spec.id === instance) continue;
    await hypervisor.stop(spec.id, 0);
    await hypervisor.remove(spec.id);
  }
}

async function shift({ weights }: { weights: Record<string, number> }, task: Task): Promise<void> {
  const { service } = task.rollout;
  const routes = (await task.routing.status(service))?.routes ?? [];
  const serving = new Set(routes.filter(({ weight }) => weight > 0).map(({ instance }) => instance));
  const starting = Object.entries(weights).filter(
    ([instance, weight]) => weight > 0 && !serving.has(instance),
  );
  await Promise.all(starting.map(async ([instance]) => await ask(instance, task)));
  await task.routing.shift(service, weights);
}

async function swapVolume(action: Extract<Action, { kind: 'swapVolume' }>, task: Task): Promise<void> {
  const { service, policy } = task.rollout;
  if (!action.hold) return await exchange(action, task);
  await task.routing.hold(service, true);
  try {
    await task.routing.drained(service, action.instance, policy.drain);
    await exchange(action, task);
  } finally {
    await task.routing.hold(service, false);
  }
}

/** What one guest has, and what it is to have. */
interface Exchange {
  machine: VirtualMachine;
  revision: Revision;
  /** attached, and not of the revision */
  stale: AttachedVolume[];
  /** of the revision, and not attached */
  missing: CodeVolume[];
}

/** Brings the volumes of one guest to the target's, and back to what they were if the guest does not prove them. */
async function exchange(
  action: { instance: string; mode: 'overlap' | 'replace' },
  task: Task,
): Promise<void> {
  const revision = needTarget(task.target);
  const machine = await find(task, action.instance);
  const stale = machine.volumes.filter((has) => !revision.volumes.some((wanted) => isSame(has, wanted)));
  const missing = revision.volumes.filter((wanted) => !machine.volumes.some((has) => isSame(has, wanted)));

  task.monitor.restart(action.instance);
  await (action.mode === 'overlap' ? attachBeside : putInPlace)({ machine, revision, stale, missing }, task);
  // Where requests go on meanwhile, the engine says it of all that were swapped at the same time.
  if (action.mode === 'replace')
    await task.routing.relabel(task.rollout.service, { [action.instance]: revision.number });
}

/** The guest holds old and new at once: the old ones leave when the new ones have proven themselves. */
async function attachBeside({ machine, revision, stale, missing }: Exchange, task: Task): Promise<void> {
  const { id } = machine.spec;
  // Of a swap that was cut short: the guest serves what came last, and would never prove what lies beneath.
  const above = stale.filter((volume) => covers(machine, volume, revision));
  for (const volume of above) await task.hypervisor.detachVolume(id, volume);
  for (const volume of missing) await task.hypervisor.attachVolume(id, volume);
  const error = await verify(machine, revision, task);
  const beneath = stale.filter((volume) => !above.includes(volume));
  // A guest that had nothing else keeps what it has: there is nothing to go back to.
  const leaving = error ? (beneath.length > 0 ? missing : []) : beneath;
  for (const volume of leaving) await task.hypervisor.detachVolume(id, volume);
  if (!error) return;
  await recovered(machine, task);
  throw error;
}

/** The guest holds one at a time: nothing may be in flight, and the old one comes back if the new one fails. */
async function putInPlace({ machine, revision, stale, missing }: Exchange, task: Task): Promise<void> {
  const { id } = machine.spec;
  const pairs = missing.map((volume) => ({ volume, old: stale.find(({ name }) => name === volume.name) }));
  for (const { volume, old } of pairs) {
    await (old ? task.hypervisor.replaceVolume(id, old, volume) : task.hypervisor.attachVolume(id, volume));
  }
  for (const volume of stale.filter((has) => !pairs.some(({ old }) => old === has))) {
    await task.hypervisor.detachVolume(id, volume);
  }
  const error = await verify(machine, revision, task);
  if (!error) return;
  for (const { volume, old } of pairs.reverse()) {
    const known = task.volumes.find((candidate) => old && isSame(old, candidate));
    if (known) await task.hypervisor.replaceVolume(id, volume, known);
  }
  await recovered(machine, task);
  throw error;
}

/** A guest that has its old volume again is not to be taken for a sick one, for what it answered with the new one. */
async function recovered(machine: VirtualMachine, { monitor, rollout }: Task): Promise<void> {
  await monitor.until(machine, [], rollout.health, rollout.policy.verify);
}

/** Waits until the guest is healthy and proves the revision; the error says what it answered instead. */
async function verify(
  machine: VirtualMachine,
  revision: Revision,
  task: Task,
): Promise<UnideployError | null> {
  const { health, policy } = task.rollout;
  const passed = await task.monitor.until(machine, proofs(revision), health, policy.verify);
  return passed ? null : unverified(machine.spec.id, revision, policy.verify, task);
}

/** Whether it was attached over a volume of the revision: they are listed as they came. */
function covers({ volumes }: VirtualMachine, { name, digest }: AttachedVolume, revision: Revision): boolean {
  const at = volumes.findIndex((has) => has.name === name && has.digest === digest);
  const wanted = revision.volumes.find((volume) => volume.name === name);
  const beneath = volumes.findIndex((has) => wanted !== undefined && isSame(has, wanted));
  return beneath >= 0 && beneath < at;
}

function isSame(has: AttachedVolume, wanted: AttachedVolume): boolean {
  return has.name === wanted.name && has.digest === wanted.digest;
}

async function find({ hypervisor }: Task, id: string): Promise<VirtualMachine> {
  const machine = await hypervisor.find(id);
  if (machine?.state === 'running') return machine;
  throw new UnideployError(
    'UD_GUEST_START',
    `${id} does not run any more`,
    `read its console: unideploy logs ${id}`,
  );
}

function needTarget(target: Revision | null): Revision {
  if (target) return target;
  throw new UnideployError(
    'UD_INTERNAL',
    'an action needs a revision, and the goal has none',
    'this is a bug: please report it',
  );
}

function unverified(instance: string, revision: Revision, within: number, { monitor }: Task): UnideployError {
  const said = monitor.reading(instance).last?.summary ?? 'nothing';
  const missing = proofs(revision).length > 0 ? 'did not prove' : 'was not healthy with';
  return new UnideployError(
    'UD_VOLUME_UNVERIFIED',
    `${instance} ${missing} revision ${revision.number} within ${within / 1000} s; its last answer: ${said}`,
    `read its console: unideploy logs ${instance}`,
  );
}
