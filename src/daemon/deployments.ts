import { missing } from '../artifact/store.ts';
import { choose } from '../domain/choice.ts';
import type { JournalEntry } from '../domain/journal.ts';
import { ungated } from '../domain/policy.ts';
import { isReady } from '../domain/pool.ts';
import { LOOKED_THROUGH, previousOf } from '../domain/previous.ts';
import type { Sick } from '../domain/repair.ts';
import { artifactsOf, canonical, dataOf, type Revision, type RevisionSpec } from '../domain/revision.ts';
import {
  type Goal,
  isByConfig,
  type Restore,
  type Rollout,
  type RolloutKind,
  underWay,
} from '../domain/rollout.ts';
import { expectMatch, refusedSnapshot } from '../domain/snapshot.ts';
import { observe } from '../engine/observe.ts';
import type { EngineParts } from '../engine/parts.ts';
import type { Tidier } from '../engine/tidy.ts';
import { UnideployError } from '../errors.ts';
import { type SnapshotCatalogue, unknownSnapshot } from '../snapshots/catalogue.ts';
import type { NewRevision, NewRollout, Service, Store } from '../store/port.ts';
import type { DeployRequest, Plan, Started } from './messages.ts';
import type { Orders } from './orders.ts';
import { simulate } from './plan.ts';
import { locked, needService, nothingOpen, wouldShrink } from './refusals.ts';
import type { Runs } from './runs.ts';

/** Everything a rollout's artifacts must be in before it may begin. */
export interface Artifacts {
  /** Whether it is there; it is not collected for a while then. */
  want(digest: string): Promise<boolean>;
  /** Reads all of it again; UD_ARTIFACT_CORRUPT when its bytes have changed. */
  verify(digest: string): Promise<void>;
  /** @throws UD_IMAGE_REFUSED when one of a revision may not be used; left out: all may */
  inspect?(spec: RevisionSpec): Promise<void>;
  /** left out: there are none */
  snapshots?: Pick<SnapshotCatalogue, 'need' | 'verify'>;
}

/** Rollouts that are looked through for the last one that a person has begun. */
const RECENT = 100;
/** Who begins repairs. */
const SUPERVISOR = 'the supervisor';

/** What the verbs need besides the engine's parts. */
export interface Deploying {
  store: Store;
  artifacts: Artifacts;
  orders: Orders;
  runs: Pick<Runs, 'start' | 'ended'>;
  tidier: Pick<Tidier, 'idle'>;
}

/** The verbs that move a pool: each turns what somebody asks for into a rollout, or into a refusal that changes nothing. */
export class Deployments {
  readonly #parts: EngineParts;
  readonly #store: Store;
  readonly #artifacts: Artifacts;
  readonly #orders: Orders;
  readonly #runs: Deploying['runs'];
  readonly #tidier: Deploying['tidier'];

  constructor(parts: EngineParts, { store, artifacts, orders, runs, tidier }: Deploying) {
    this.#parts = parts;
    this.#store = store;
    this.#artifacts = artifacts;
    this.#orders = orders;
    this.#runs = runs;
    this.#tidier = tidier;
  }

  async deploy(name: string, request: DeployRequest): Promise<Started> {
    const { policy, health, supervision, kind, performer, force, expect } = request;
    await this.#needArtifacts(request.spec);
    await this.#artifacts.inspect?.(request.spec);
    needOneInstance(request.spec, request.replicas);
    await this.#needRoom(name, request.spec);
    await this.#parts.strategyOf(policy.strategy === 'auto' ? 'rolling' : policy.strategy);
    this.#expectRevision(name, expect);
    const among = await this.#makeRoom(name, performer, request.supersede ? performer : null);
    this.#expectRevision(name, expect);
    const { goal: from } = this.#store.service(name) ?? nothing(request);
    const target =
      this.#known(name, request.spec, from) ?? this.#store.addRevision(this.#newRevision(name, request));
    const to: Goal = goalOf(target, request);
    const asked = { kind, performer, among, force };
    return await this.#begin({ name, goal: from, policy, health, supervision }, to, asked);
  }

  /** What `deploy` would do, step by step, if nothing went wrong. */
  async plan(name: string, request: DeployRequest): Promise<Plan> {
    needOneInstance(request.spec, request.replicas);
    await this.#needRoom(name, request.spec);
    const { goal: from } = this.#store.service(name) ?? nothing(request);
    const known = this.#known(name, request.spec, from);
    const number = (this.#store.revisions(name)[0]?.number ?? 0) + 1;
    const target = known ?? { ...this.#newRevision(name, request), number, stableAt: null, pinned: null };
    const to: Goal = goalOf(target, request);
    const { policy, health, supervision, performer, force } = request;
    const service = { name, goal: from, policy, health, supervision };
    if (!force && (await this.#isThere(name, from, to)))
      return { strategy: null, from, to, steps: [], ms: 0 };
    const source = this.#revision(name, from.revision);
    const opened = {
      ...this.#newRollout(service, to, target, { kind: 'rollout', performer, force }),
      id: this.#nextRollout(name),
    };
    const machines = (await this.#parts.hypervisor.list()).filter(
      ({ spec, state }) => spec.service === name && state !== 'frozen',
    );
    const table = await this.#parts.routing.status(name);
    const strategy = await this.#parts.strategyOf(opened.strategy);
    const templates = await this.#parts.hypervisor.templates();
    const found = { machines, templates, table };
    const steps = await simulate(opened, strategy, source ? [target, source] : [target], found);
    return { strategy: opened.strategy, from, to, steps, ms: duration(steps) };
  }

  /** @param revision null: what was served before the one that runs */
  async rollback(name: string, revision: number | null, performer: string): Promise<Started> {
    await this.#makeRoom(name, performer, null);
    const service = needService(this.#store, name);
    const target = revision === null ? this.#previous(service) : this.#needRevision(name, revision);
    await this.#needArtifacts(target);
    return await this.#begin(
      service,
      { ...service.goal, revision: target.number },
      { kind: 'rollback', performer },
    );
  }

  /**
   * Has a data volume become what it was at a snapshot while no instance has it: the one that does goes, and another of the same
   * revision comes, with requests waiting meanwhile. Null: the service wants no such volume, and nothing was begun.
   */
  async revert(
    name: string,
    revert: { volume: string; snapshot: string },
    performer: string,
  ): Promise<Started | null> {
    await this.#makeRoom(name, performer, null);
    const service = this.#store.service(name);
    const target = this.#revision(name, service?.goal.revision ?? null);
    if (!service || !target || !dataOf(target).some((each) => each.name === revert.volume)) return null;
    await this.#needArtifacts(target);
    return await this.#begin(service, service.goal, { kind: 'restart', performer, force: true, revert });
  }

  /** Replaces every instance by another of the same revision. */
  async restart(name: string, performer: string): Promise<Started> {
    await this.#makeRoom(name, performer, null);
    const service = needService(this.#store, name);
    const target = this.#revision(name, service.goal.revision);
    if (target) await this.#needArtifacts(target);
    return await this.#begin(service, service.goal, { kind: 'restart', performer, force: true });
  }

  /** Tries again what the last rollout did not bring about. */
  async retry(name: string, performer: string): Promise<Started> {
    await this.#makeRoom(name, performer, null);
    const last = this.#store.rollouts(name, RECENT).find((each) => each.kind !== 'repair');
    if (!last || last.state === 'succeeded') {
      const message = last ? `rollout ${last.id} of ${name} succeeded` : `${name} has never been rolled out`;
      throw nothingOpen(`${message}: there is nothing to try again`, 'roll out: unideploy rollout');
    }
    const { to, policy, health, supervision, kind, among, restore } = last;
    const target = this.#revision(name, to.revision);
    if (target) await this.#needArtifacts(target);
    const goal = this.#store.service(name)?.goal ?? last.from;
    const asked = { kind, performer, among, restore };
    return await this.#begin({ name, goal, policy, health, supervision }, to, asked);
  }

  async scale(name: string, replicas: number, performer: string): Promise<Started> {
    await this.#makeRoom(name, performer, null);
    const service = needService(this.#store, name);
    const target = this.#revision(name, service.goal.revision);
    if (target) await this.#needArtifacts(target);
    needOneInstance(target, replicas);
    return await this.#begin(service, { ...service.goal, replicas }, { kind: 'scale', performer });
  }

  /**
   * Replaces sick instances, and those that are missing, by others of the same revision. Null: a rollout is under way, which
   * sees to its instances itself.
   */
  async repair(name: string, sick: Sick[]): Promise<Rollout | null> {
    const service = this.#store.service(name);
    const target = this.#revision(name, service?.goal.revision ?? null);
    if (!service || !target || this.#orders.open(name)) return null;
    await this.#needArtifacts(target);
    await this.#tidier.idle(name);
    if (this.#orders.open(name)) return null;
    const asked = { kind: 'repair', performer: SUPERVISOR, force: false, sick } as const;
    const rollout = this.#store.openRollout(this.#newRollout(service, service.goal, target, asked));
    this.#runs.start(rollout);
    return rollout;
  }

  /**
   * Has an instance take the place of another in the pool, which goes on from what was saved. One of an earlier revision takes
   * the whole pool back to that, so there may be no other.
   * @param replaces null: the instance that was saved
   */
  async restore(name: string, id: string, replaces: string | null, performer: string): Promise<Started> {
    const { snapshots } = this.#artifacts;
    if (!snapshots) throw unknownSnapshot(name, id);
    const snapshot = await snapshots.need(name, id);
    await this.#makeRoom(name, performer, null);
    const service = needService(this.#store, name);
    const { goal } = service;
    const target = this.#needRevision(name, snapshot.revision);
    expectMatch(snapshot, target, `revision ${target.number} of ${name}`);
    if (target.number !== goal.revision && goal.replicas > 1)
      throw refusedSnapshot(
        `snapshot ${id} is of revision ${target.number}, and the ${goal.replicas} instances of ${name} are of ${goal.revision}`,
        `go back to that revision first: unideploy rollback ${target.number}`,
      );
    await this.#needArtifacts(target);
    await snapshots.verify(snapshot);
    const restore = { snapshot: id, replaces: replaces ?? snapshot.instance };
    return await this.#begin(
      service,
      { ...goal, revision: target.number },
      { kind: 'restore', performer, restore },
    );
  }

  async down(name: string, performer: string): Promise<Started> {
    await this.#makeRoom(name, performer, null);
    const service = needService(this.#store, name);
    const to = { ...service.goal, revision: null, replicas: 0 };
    return await this.#begin(service, to, { kind: 'down', performer });
  }

  /** Has the artifacts of a revision kept, whatever the policy says. @param by null: no more */
  pin(name: string, revision: number, by: string | null): Revision {
    const { number } = this.#needRevision(name, revision);
    this.#store.pin(name, number, by === null ? null : { by, at: this.#parts.clock.now() });
    return this.#needRevision(name, revision);
  }

  async #begin(service: Subject, to: Goal, asked: Asked): Promise<Started> {
    const { name } = service;
    const target = this.#revision(name, to.revision);
    if (
      !asked.force &&
      !asked.restore &&
      to.revision !== null &&
      (await this.#isThere(name, service.goal, to))
    ) {
      this.#store.putService({ ...service, gaveUp: null, warm: this.#store.service(name)?.warm ?? null });
      return { kind: 'unchanged', service: name, revision: to.revision };
    }
    // The supervisor may have begun a repair meanwhile.
    do await this.#makeRoom(name, asked.performer, null);
    while (this.#orders.open(name));
    this.#forgive(name);
    const rollout = this.#store.openRollout(this.#newRollout(service, to, target, asked));
    this.#runs.start(rollout);
    return { kind: 'rollout', rollout };
  }

  /** Who begins a rollout has looked: repairs begin anew after it. */
  #forgive(name: string): void {
    const service = this.#store.service(name);
    if (service?.gaveUp) this.#store.putService({ ...service, gaveUp: null });
  }

  #newRevision(service: string, { spec, performer, gitCommit, build = null }: DeployRequest): NewRevision {
    return { ...spec, service, createdAt: this.#parts.clock.now(), createdBy: performer, gitCommit, build };
  }

  #newRollout(
    { name, goal: from, policy, health, supervision }: Subject,
    to: Goal,
    target: Revision | null,
    { kind, performer, force = false, among = [], sick = [], revert, restore = null }: Asked,
  ): NewRollout {
    const now = this.#parts.clock.now();
    const source = this.#revision(name, from.revision);
    return {
      ...underWay(now),
      service: name,
      kind,
      from,
      to,
      strategy: choose(policy.strategy, kind, source, target),
      policy: isByConfig(kind) ? policy : ungated(policy),
      health,
      supervision,
      direction: 'forward',
      state: 'open',
      reason: null,
      performer,
      startedAt: now,
      endedAt: null,
      launches: 0,
      renew: force ? now : null,
      sick,
      restore,
      among,
      ...(revert && { revert }),
      ending: null,
      heard: 0,
    };
  }

  /** Whether the pool is whole already: the goal is the one that was reached last, and every instance is there. */
  async #isThere(name: string, from: Goal, to: Goal): Promise<boolean> {
    const target = this.#revision(name, to.revision);
    if (!target || from.revision !== to.revision || from.replicas !== to.replicas) return false;
    if (canonical(from.traffic) !== canonical(to.traffic)) return false;
    const { listen, traffic } = (await this.#parts.routing.status(name)) ?? {};
    const sameAddress =
      listen?.host === to.listen.host && (to.listen.port === 0 || listen.port === to.listen.port);
    const sameFront = sameAddress && canonical(traffic) === canonical(to.traffic);
    const { instances } = await observe(this.#parts, name, [target], new Map());
    // those that are kept warm are no part of it
    const pool = instances.filter((i) => i.weight > 0 || i.revision === to.revision);
    const whole = pool.length === to.replicas && pool.every((i) => isReady(i, to.revision) && i.weight > 0);
    return sameFront && whole;
  }

  /** The same deploy again is the same revision: the one that runs, or the newest. */
  #known(name: string, spec: RevisionSpec, from: Goal): Revision | null {
    const same = (found: Revision | null | undefined) => found && identity(found) === identity(spec);
    const [newest] = this.#store.revisions(name);
    const running = this.#revision(name, from.revision);
    if (same(running)) return running;
    return same(newest) ? (newest ?? null) : null;
  }

  #previous({ name, goal }: Service): Revision {
    const { revisions, rollouts } = this.#store;
    const found = previousOf(goal.revision, revisions(name), rollouts(name, LOOKED_THROUGH));
    if (found) return found;
    throw new UnideployError(
      'UD_UNKNOWN_REVISION',
      `${name} has no stable revision before ${goal.revision}`,
      `see the revisions there are: unideploy history --service ${name}`,
    );
  }

  #needRevision(name: string, number: number): Revision {
    const found = this.#store.revision(name, number);
    if (found) return found;
    const known = this.#store.revisions(name).map((revision) => revision.number);
    throw new UnideployError(
      'UD_UNKNOWN_REVISION',
      `${name} has no revision ${number}; it has ${known.join(', ') || 'none'}`,
      `choose one of: unideploy history --service ${name}`,
    );
  }

  /**
   * What is missing, or has other bytes than it had, is found before anything is touched.
   * @throws UD_ARTIFACT_MISSING, UD_ARTIFACT_CORRUPT
   */
  async #needArtifacts(spec: RevisionSpec): Promise<void> {
    for (const digest of artifactsOf(spec)) if (!(await this.#artifacts.want(digest))) throw missing(digest);
    await Promise.all(artifactsOf(spec).map((digest) => this.#artifacts.verify(digest)));
  }

  /** No disk becomes smaller than it is. */
  async #needRoom(name: string, spec: RevisionSpec): Promise<void> {
    const there = (await this.#parts.hypervisor.dataVolumes()).filter(({ service }) => service === name);
    for (const { name: volume, size } of dataOf(spec)) {
      const now = there.find((each) => each.name === volume)?.size ?? 0;
      if (now > size) throw wouldShrink(name, volume, now, size);
    }
  }

  /**
   * Waits until a rollout of the service may begin, having the one that is under way end where somebody supersedes it. A repair
   * always gives way: nobody is to be locked out by one.
   *
   * Returns the revisions that its instances may be of.
   * @throws UD_LOCKED
   */
  async #makeRoom(name: string, performer: string, superseder: string | null): Promise<number[]> {
    const among: number[] = [];
    await this.#tidier.idle(name);
    for (let holder = this.#orders.open(name); holder; holder = this.#orders.open(name)) {
      const by = superseder ?? (holder.kind === 'repair' ? performer : null);
      if (by === null) throw locked(holder);
      this.#orders.give(holder, { event: 'ordered', how: 'supersede', by });
      await this.#runs.ended(holder.id);
      if (this.#store.rollout(holder.id)?.state === 'open') throw locked(holder);
      among.push(...holder.among, ...(holder.to.revision === null ? [] : [holder.to.revision]));
    }
    return among;
  }

  #expectRevision(name: string, expected: number | null): void {
    const serves = this.#store.service(name)?.goal.revision ?? null;
    if (expected === null || (serves ?? 0) === expected) return;
    const [last] = this.#store.rollouts(name, 1);
    const by = last ? `, deployed by ${last.performer}` : '';
    throw new UnideployError(
      'UD_REVISION_CHANGED',
      `${name} serves ${serves === null ? 'nothing' : `revision ${serves}${by}`}, expected ${expected === 0 ? 'none' : `revision ${expected}`}`,
      `look at what was deployed meanwhile: unideploy history --service ${name}`,
    );
  }

  #revision(name: string, number: number | null): Revision | null {
    return number === null ? null : this.#store.revision(name, number);
  }

  #nextRollout(name: string): number {
    return (this.#store.rollouts(name, 1)[0]?.id ?? 0) + 1;
  }
}

/** What is asked of a rollout besides its goal. */
interface Asked {
  kind: RolloutKind;
  performer: string;
  /** replace the instances whatever they run */
  force?: boolean;
  among?: number[];
  sick?: Sick[];
  revert?: Rollout['revert'];
  /** an instance is to be as it was, whatever the pool is now */
  restore?: Restore | null;
}

/** What a rollout is of. */
type Subject = Pick<Service, 'name' | 'goal' | 'policy' | 'health' | 'supervision'>;

function needOneInstance(spec: Pick<RevisionSpec, 'data'> | null, replicas: number): void {
  if (replicas <= 1 || dataOf(spec).length === 0) return;
  throw new UnideployError(
    'UD_USAGE',
    `a service with data volumes has one instance, and ${replicas} are asked for`,
    'one instance at a time can write to a disk; give each service a disk of its own',
  );
}

function goalOf({ number }: Revision, { replicas, listen, traffic }: DeployRequest): Goal {
  return { revision: number, replicas, listen, traffic };
}

function nothing({ listen, traffic }: DeployRequest): { goal: Goal } {
  return { goal: { revision: null, replicas: 0, listen, traffic } };
}

/** What makes two deploys the same, whoever built them. */
function identity({ image, machine, volumes, checks, data }: RevisionSpec): string {
  return canonical({ image, machine, volumes, checks, data: dataOf({ data }) });
}

function duration(steps: JournalEntry[]): number {
  return (steps.at(-1)?.at ?? 0) - (steps[0]?.at ?? 0);
}
