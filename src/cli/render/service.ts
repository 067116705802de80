import type { InstanceStatus, ShownService } from '../../daemon/messages.ts';
import { isAvailable } from '../../domain/pool.ts';
import { goal, type Rollout } from '../../domain/rollout.ts';
import type { TrafficPolicy } from '../../domain/traffic.ts';
import { standsAt } from './standing.ts';
import { table } from './table.ts';
import { named, repairedNoMore, seconds, size } from './words.ts';

/** A service as it is now: a line for it, some for its rollout under way and for what is kept warm, and its instances. */
export function describeService(status: ShownService): string {
  const { name, goal, listen, traffic, instances, requests, failures, held, open, warm } = status;
  const { sick, frozen, gaveUp } = status;
  const serving = instances.filter((one) => isAvailable(one) && one.usable !== false).length;
  const address = listen && traffic ? url(traffic, listen) : 'no listener';
  const revision = goal.revision === null ? 'no revision yet' : `revision ${goal.revision}`;
  const waiting = held > 0 ? `, ${held} held` : '';
  const head = `${name}  ${revision}  ${serving}/${goal.replicas} serving  ${address}  ${requests} requests, ${failures} failed${waiting}`;
  const under = open ? [`  ${named(open.id, open.kind, name)} under way ${way(open)}, ${open.strategy}`] : [];
  const stands = status.standing ? standsAt(status.standing) : '';
  const still = stands === '' ? [] : [`  ${stands}`];
  const kept = warm ? [`  ${keptWarm(warm)}`] : [];
  const wrong = sick.map(({ instance, sentence, cause }) => `  ${instance} ${sentence} (${cause})`);
  const stopped = gaveUp ? [`  ${repairedNoMore(gaveUp.why)}`] : [];
  const iced = frozen.map((instance) => `  ${keptFrozen(instance)}`);
  const disks = (status.data ?? []).map(
    ({ name: disk, size: bytes, used, attachedTo }) =>
      `  data volume ${disk}  ${size(bytes)}, ${size(used)} used, ${attachedTo === null ? 'attached to nobody' : `attached to ${attachedTo}`}`,
  );
  const lines = [...under, ...still, ...kept, ...wrong, ...stopped, ...iced, ...disks];
  return [head, ...lines, table(HEAD, instances.map(row))].join('\n');
}

function keptFrozen(instance: string): string {
  return `${instance} is frozen, to be looked at by debug.sock in its run directory; unideploy restart or down ends it`;
}

function keptWarm({ revision, until }: NonNullable<ShownService['warm']>): string {
  const left = seconds(Math.max(0, until - Date.now()));
  return `revision ${revision} is kept warm for another ${left}: unideploy rollback`;
}

/** The address as clients write it; the brackets of IPv6 included. */
function url({ mode, tls }: TrafficPolicy, { host, port }: { host: string; port: number }): string {
  const scheme = mode === 'tcp' ? 'tcp' : tls ? 'https' : 'http';
  return `${scheme}://${host.includes(':') ? `[${host}]` : host}:${port}`;
}

/** Where a rollout is going now. */
function way(open: Rollout): string {
  const { revision } = goal(open);
  const to = revision === null ? 'to nothing' : `to revision ${revision}`;
  return open.direction === 'forward' ? to : `back ${to}`;
}

const HEAD = ['instance', 'revision', 'verified', 'health', 'state', 'weight', 'in flight', 'address', 'age'];

function row(instance: InstanceStatus): (string | number)[] {
  const { id, revision, verified, health, state, runState, endpoint, launchedAt } = instance;
  const { weight, inFlight, usable } = instance;
  return [
    id,
    revision ?? '?',
    verified ? 'yes' : 'no',
    health,
    state === 'running' && runState !== null ? runState : state,
    usable === false ? `${weight}, out` : weight,
    inFlight,
    endpoint ? `${endpoint.host}:${endpoint.port}` : '–',
    seconds(Date.now() - launchedAt),
  ];
}
