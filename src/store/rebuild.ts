import { FULL_WEIGHT } from '../domain/action.ts';
import { type HealthPolicy, NO_GATES, type RolloutPolicy } from '../domain/policy.ts';
import { type CodeVolume, canonical, type Revision } from '../domain/revision.ts';
import type { Goal, Rollout } from '../domain/rollout.ts';
import { DEFAULT_SUPERVISION } from '../domain/supervision.ts';
import { DEFAULT_TRAFFIC } from '../domain/traffic.ts';
import type { ErrorReport } from '../errors.ts';
import type { Endpoint, InstanceSpec } from '../hypervisor/port.ts';
import type { Route, RoutingTable } from '../proxy/port.ts';
import type { Service, Store } from './port.ts';
import type { Records } from './records.ts';

/** What there is to learn from besides the store: what runs, what serves, what was written down beside it. */
export interface Found {
  machines: FoundMachine[];
  /** by which the data plane serves now */
  tables: RoutingTable[];
  records: Records;
  /** ids of all instances there ever were, as far as anything tells */
  seen: string[];
}

export interface FoundMachine {
  spec: InstanceSpec;
  runs: boolean;
  endpoint: Endpoint | null;
  /** what it has attached; null: nobody can say */
  volumes: CodeVolume[] | null;
}

/** What a store does not know, or knows as it was before. */
export interface Lesson {
  services: Service[];
  revisions: Revision[];
  tables: RoutingTable[];
  /** open ones that launched more than they know */
  launched: Rollout[];
  /** open ones that have ended: later ones have moved the pool */
  ended: Rollout[];
  /** numbers that were given, by service: no later revision may have one of them */
  lastRevision: ReadonlyMap<string, number>;
  /** the same of rollouts; 0: no other than the store knows */
  lastRollout: number;
  /** what was found, and what nobody can know, in sentences */
  told: string[];
}

/** As `unideploy.yaml` has them where it says nothing. */
export const DEFAULT_POLICY: RolloutPolicy = {
  ...NO_GATES,
  strategy: 'auto',
  maxSurge: 1,
  maxUnavailable: 0,
  parallel: 'auto',
  keep: 10,
  drain: 30_000,
  stop: 10_000,
  verify: 30_000,
  progressDeadline: 120_000,
  deadline: 1_800_000,
};
export const DEFAULT_HEALTH: HealthPolicy = {
  interval: 1000,
  timeout: 1000,
  healthy: 1,
  unhealthy: 3,
  deadline: 60_000,
};

type Known = Pick<
  Store,
  'service' | 'services' | 'revision' | 'revisions' | 'rollouts' | 'openRollouts' | 'table' | 'lastRollout'
>;

/** Whether there were rollouts which the store has never heard of. */
export function isOlder(store: Pick<Store, 'lastRollout'>, found: Found): boolean {
  return lastOf(found) > store.lastRollout();
}

/** What a store has to learn that is otherwise whole: numbers which were given already. */
export function numbersOf(store: Known, found: Found): Lesson {
  const last = lastOf(found);
  const isNew = ([service, number]: [string, number]) => number > (store.revisions(service)[0]?.number ?? 0);
  return {
    services: [],
    revisions: [],
    tables: [],
    ended: [],
    launched: store.openRollouts().flatMap((rollout) => launched(rollout, found.seen)),
    lastRevision: new Map([...lastRevisions(found)].filter(isNew)),
    lastRollout: last > store.lastRollout() ? last : 0,
    told: [],
  };
}

/**
 * What a store has to learn that is empty, or older than what runs. What serves counts: the goal of a service is what its
 * instances do now, its policy what was written down last, or else what a config has that says nothing.
 */
export function rebuilt(store: Known, found: Found, now: number): Lesson {
  const { machines, tables, records } = found;
  const names = new Set([
    ...tables.map(({ service }) => service),
    ...machines.filter(({ runs }) => runs).map(({ spec }) => spec.service),
    ...records.services.map(({ name }) => name),
    ...store.services().map(({ name }) => name),
  ]);
  const numbers = numbersOf(store, found);
  const lesson: Lesson = { ...numbers, revisions: revisionsOf(found), launched: [] };
  for (const name of [...names].sort()) {
    if (isCurrent(name, store, found))
      lesson.launched.push(...numbers.launched.filter(({ service }) => service === name));
    else learn(name, store, found, lesson, now);
    const table = tables.find(({ service }) => service === name);
    if (table && table.version > (store.table(name)?.version ?? -1)) lesson.tables.push(table);
  }
  return lesson;
}

/** Whether nothing tells that a service has moved since the store was written; a rollout under way may go on then. */
function isCurrent(name: string, store: Known, found: Found): boolean {
  const [newest] = store.rollouts(name, 1);
  if (newest === undefined || newest.id < lastOf(found, name)) return false;
  const recorded = found.records.services.find((service) => service.name === name);
  const goal = store.service(name)?.goal;
  if (recorded && canonical(recorded.goal) !== canonical(goal)) return false;
  const version = found.tables.find(({ service }) => service === name)?.version ?? 0;
  return newest.state === 'open' || version <= (store.table(name)?.version ?? 0);
}

function learn(name: string, store: Known, found: Found, lesson: Lesson, now: number): void {
  const table = found.tables.find(({ service }) => service === name);
  const living = found.machines.filter(({ spec, runs }) => runs && spec.service === name);
  const recorded = found.records.services.find((service) => service.name === name) ?? null;
  const before = recorded ?? store.service(name);
  const revision = served(name, table, living, before);
  const has = lesson.revisions.some((each) => each.service === name && each.number === revision);
  if (revision === null || !(has || store.revision(name, revision))) {
    lesson.told.push(`${name}: nothing tells what it serves; roll it out again: unideploy up`);
    return;
  }
  const serving = living.filter((machine) => labelOf(machine, table) === revision);
  const same = before !== null && before.goal.revision === revision;
  const goal: Goal = {
    revision,
    replicas: same ? before.goal.replicas : Math.max(1, serving.length),
    listen: before?.goal.listen ?? table?.listen ?? { host: '127.0.0.1', port: 0 },
    traffic: table?.traffic ?? before?.goal.traffic ?? DEFAULT_TRAFFIC,
  };
  const { policy, health, supervision } = before ?? {
    ...{ policy: DEFAULT_POLICY, health: DEFAULT_HEALTH },
    supervision: DEFAULT_SUPERVISION,
  };
  lesson.services.push({ name, goal, policy, health, supervision, gaveUp: null, warm: null });
  if (!table && serving.length > 0)
    lesson.tables.push(tableOf(name, goal, serving, (store.table(name)?.version ?? 0) + 1));
  for (const rollout of store.openRollouts().filter(({ service }) => service === name))
    lesson.ended.push({ ...rollout, state: 'failed', endedAt: now, reason: overtaken(rollout) });
  lesson.told.push(...sentences(name, goal, serving, living, before !== null, table !== undefined));
}

/** The revision that clients get: by the table, else by what was written down, else by what runs. */
function served(
  name: string,
  table: RoutingTable | undefined,
  living: FoundMachine[],
  before: Service | null,
): number | null {
  const weights = (table?.routes ?? []).map(({ revision, weight }) => [revision, weight] as const);
  const byTable = heaviest(weights.filter(([, weight]) => weight > 0));
  if (byTable !== null) return byTable;
  const running = living.map((machine) => [labelOf(machine, table), 1] as const);
  const recorded = before?.name === name ? before.goal.revision : null;
  if (recorded !== null && (running.length === 0 || running.some(([label]) => label === recorded)))
    return recorded;
  return heaviest(running);
}

function heaviest(weights: (readonly [number, number])[]): number | null {
  const sums = new Map<number, number>();
  for (const [revision, weight] of weights) sums.set(revision, (sums.get(revision) ?? 0) + weight);
  return [...sums].sort(([a, x], [b, y]) => y - x || b - a)[0]?.[0] ?? null;
}

/** The revision that a machine is of: a swap changes the table, not what it was launched as. */
function labelOf({ spec }: FoundMachine, table: RoutingTable | undefined): number {
  return table?.routes.find(({ instance }) => instance === spec.id)?.revision ?? spec.revision;
}

function tableOf(service: string, goal: Goal, serving: FoundMachine[], version: number): RoutingTable {
  const routes = serving.flatMap(({ spec, endpoint }): Route[] =>
    endpoint ? [{ instance: spec.id, revision: goal.revision ?? 0, ...endpoint, weight: FULL_WEIGHT }] : [],
  );
  const { listen, traffic } = goal;
  return { service, version, listen, hold: false, preview: null, traffic, routes };
}

/** Every revision that was written down, or that runs; of two sources the record counts. */
function revisionsOf({ records, machines, tables }: Found): Revision[] {
  const found = new Map(records.revisions.map((revision) => [keyOf(revision), revision]));
  for (const machine of machines) {
    const { spec, volumes } = machine;
    const table = tables.find(({ service }) => service === spec.service);
    const label = labelOf(machine, table);
    const serves = table?.routes.some((route) => route.instance === spec.id && route.weight > 0) ?? false;
    const stableAt = serves ? spec.launchedAt : null;
    const launchedAs = { ...fromSpec(spec), number: spec.revision, stableAt: null };
    const swapped = volumes && { ...fromSpec(spec), volumes, number: label, stableAt };
    const known = label === spec.revision ? [{ ...launchedAs, stableAt }] : [launchedAs, swapped];
    for (const revision of known)
      if (revision && !found.get(keyOf(revision))?.stableAt)
        found.set(keyOf(revision), {
          ...(found.get(keyOf(revision)) ?? revision),
          stableAt: revision.stableAt,
        });
  }
  return [...found.values()];
}

function fromSpec({ service, image, machine, volumes, checks, data, launchedAt }: InstanceSpec) {
  return {
    service,
    image,
    machine,
    volumes,
    checks,
    ...(data && { data }),
    createdAt: launchedAt,
    createdBy: 'recover',
    gitCommit: null,
    build: null,
    pinned: null,
  };
}

function keyOf({ service, number }: Pick<Revision, 'service' | 'number'>): string {
  return `${service} ${number}`;
}

function lastRevisions({ machines, tables, records }: Found): Map<string, number> {
  const given = [
    ...machines.map(({ spec }) => [spec.service, spec.revision] as const),
    ...tables.flatMap(({ service, routes }) => routes.map(({ revision }) => [service, revision] as const)),
    ...records.revisions.map(({ service, number }) => [service, number] as const),
  ];
  const last = new Map<string, number>();
  for (const [service, number] of given) last.set(service, Math.max(last.get(service) ?? 0, number));
  return last;
}

function launched(rollout: Rollout, seen: string[]): Rollout[] {
  const ordinals = seen.flatMap((id) => {
    const { service, rollout: its, ordinal } = partsOf(id);
    return service === rollout.service && its === rollout.id ? [ordinal] : [];
  });
  const launches = Math.max(0, ...ordinals);
  return launches > rollout.launches ? [{ ...rollout, launches }] : [];
}

/** The highest number that a rollout is known to have had, of one service or of all. */
function lastOf({ seen, records }: Found, service?: string): number {
  const ids = seen.map(partsOf).filter((each) => service === undefined || each.service === service);
  const recorded = [...records.lastRollout].filter(([name]) => service === undefined || name === service);
  return Math.max(0, ...ids.map(({ rollout }) => rollout), ...recorded.map(([, rollout]) => rollout));
}

/** `<service>-<rollout>-<ordinal>` */
function partsOf(id: string): { service: string; rollout: number; ordinal: number } {
  const [, service = '', rollout = 0, ordinal = 0] = /^(.+)-(\d+)-(\d+)$/.exec(id) ?? [];
  return { service, rollout: Number(rollout), ordinal: Number(ordinal) };
}

function overtaken({ id, service }: Rollout): ErrorReport {
  return {
    code: 'UD_STATE_DAMAGED',
    message: `what became of rollout ${id} of ${service} was lost: later ones have moved its instances`,
    next: `see what serves: unideploy status --service ${service}`,
  };
}

function sentences(
  name: string,
  { revision, replicas, listen }: Goal,
  serving: FoundMachine[],
  living: FoundMachine[],
  isRecorded: boolean,
  isServed: boolean,
): string[] {
  const ids = serving.map(({ spec }) => spec.id).join(', ') || 'none';
  const others = living.filter((machine) => !serving.includes(machine)).map(({ spec }) => spec.id);
  return [
    `${name}: revision ${revision} on ${replicas}; of it run: ${ids}`,
    ...(others.length > 0 ? [`${name}: others run, which the next rollout ends: ${others.join(', ')}`] : []),
    ...(isServed || isRecorded
      ? []
      : [
          `${name}: where it listens is not known, and taken to be ${listen.host}; unideploy up says it again`,
        ]),
    ...(isRecorded
      ? []
      : [
          `${name}: its policy, its health and its replicas are not known; the next unideploy rollout says them`,
        ]),
  ];
}
