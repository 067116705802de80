import { promotable } from '../domain/gate.ts';
import type { Happening, JournalEntry } from '../domain/journal.ts';
import { type StrategyChoice, type StrategyName, ungated } from '../domain/policy.ts';
import { isReady } from '../domain/pool.ts';
import { canonical, difference, type Revision, type RevisionSpec } from '../domain/revision.ts';
import { type Goal, type Rollout, type RolloutKind, underWay } from '../domain/rollout.ts';
import type { EngineParts } from '../engine/engine.ts';
import { observe } from '../engine/observe.ts';
import type { Tidier } from '../engine/tidy.ts';
import { UnideployError } from '../errors.ts';
import type { NewRevision, NewRollout, Service, Store } from '../store/port.ts';
import type { DeployRequest, InstanceStatus, Plan, ServiceStatus, Started } from './messages.ts';
import { simulate } from './plan.ts';
import type { Runs } from './runs.ts';

/** Everything a rollout's artifacts must be in before it may begin. */
export interface Artifacts {
  has(digest: string): Promise<boolean>;
}

/** What the verbs need besides the engine's parts. */
export interface Deploying {
  store: Store;
  artifacts: Artifacts;
  runs: Pick<Runs, 'start' | 'ended'>;
  tidier: Pick<Tidier, 'idle'>;
}

/** The verbs of the API: each turns what somebody asks for into a rollout, or into a refusal that changes nothing. */
export class Deployments {
  readonly #parts: EngineParts;
  readonly #store: Store;
  readonly #artifacts: Artifacts;
  readonly #runs: Deploying['runs'];
  readonly #tidier: Deploying['tidier'];

  constructor(parts: EngineParts, { store, artifacts, runs, tidier }: Deploying) {
    this.#parts = parts;
    this.#store = store;
    this.#artifacts = artifacts;
    this.#runs = runs;
    this.#tidier = tidier;
  }

  async deploy(name: string, request: DeployRequest): Promise<Started> {
    const { policy, health, kind, performer, force, expect } = request;
    await this.#needArtifacts(request.spec);
    await this.#parts.strategyOf(policy.strategy === 'auto' ? 'rolling' : policy.strategy);
    this.#expectRevision(name, expect);
    const among = await this.#makeRoom(name, request.supersede ? performer : null);
    this.#expectRevision(name, expect);
    const { goal: from } = this.#store.service(name) ?? nothing(request);
    const target =
      this.#known(name, request.spec, from) ?? this.#store.addRevision(this.#newRevision(name, request));
    const to: Goal = goalOf(target, request);
    return await this.#begin({ name, goal: from, policy, health }, to, { kind, performer, among, force });
  }

  /** What `deploy` would do, step by step, if nothing went wrong. */
  async plan(name: string, request: DeployRequest): Promise<Plan> {
    const { goal: from } = this.#store.service(name) ?? nothing(request);
    const known = this.#known(name, request.spec, from);
    const number = (this.#store.revisions(name)[0]?.number ?? 0) + 1;
    const target = known ?? { ...this.#newRevision(name, request), number, stableAt: null };
    const to: Goal = goalOf(target, request);
    const { policy, health, performer, force } = request;
    const service = { name, goal: from, policy, health };
    if (!force && (await this.#isThere(name, from, to)))
      return { strategy: null, from, to, steps: [], ms: 0 };
    const source = this.#revision(name, from.revision);
    const opened = {
      ...this.#newRollout(service, to, target, { kind: 'rollout', performer, force }),
      id: this.#nextRollout(name),
    };
    const machines = (await this.#parts.hypervisor.list()).filter(({ spec }) => spec.service === name);
    const table = await this.#parts.routing.status(name);
    const strategy = await this.#parts.strategyOf(opened.strategy);
    const steps = await simulate(opened, strategy, source ? [target, source] : [target], { machines, table });
    return { strategy: opened.strategy, from, to, steps, ms: duration(steps) };
  }

  /** @param revision null: the last stable one before the one that runs */
  async rollback(name: string, revision: number | null, performer: string): Promise<Started> {
    await this.#makeRoom(name, null);
    const service = this.#needService(name);
    const target = revision === null ? this.#lastStable(service) : this.#needRevision(name, revision);
    await this.#needArtifacts(target);
    return await this.#begin(
      service,
      { ...service.goal, revision: target.number },
      { kind: 'rollback', performer },
    );
  }

  /** Replaces every instance by another of the same revision. */
  async restart(name: string, performer: string): Promise<Started> {
    await this.#makeRoom(name, null);
    const service = this.#needService(name);
    const target = this.#revision(name, service.goal.revision);
    if (target) await this.#needArtifacts(target);
    return await this.#begin(service, service.goal, { kind: 'restart', performer, force: true });
  }

  /** Tries again what the last rollout did not bring about. */
  async retry(name: string, performer: string): Promise<Started> {
    await this.#makeRoom(name, null);
    const [last] = this.#store.rollouts(name, 1);
    if (!last || last.state === 'succeeded') {
      const message = last ? `rollout ${last.id} of ${name} succeeded` : `${name} has never been rolled out`;
      throw nothingOpen(`${message}: there is nothing to try again`, 'roll out: unideploy rollout');
    }
    const { to, policy, health, kind } = last;
    const target = this.#revision(name, to.revision);
    if (target) await this.#needArtifacts(target);
    const goal = this.#store.service(name)?.goal ?? last.from;
    return await this.#begin({ name, goal, policy, health }, to, { kind, performer, among: last.among });
  }

  async scale(name: string, replicas: number, performer: string): Promise<Started> {
    await this.#makeRoom(name, null);
    const service = this.#needService(name);
    return await this.#begin(service, { ...service.goal, replicas }, { kind: 'scale', performer });
  }

  async down(name: string, performer: string): Promise<Started> {
    await this.#makeRoom(name, null);
    const service = this.#needService(name);
    const to = { ...service.goal, revision: null, replicas: 0 };
    return await this.#begin(service, to, { kind: 'down', performer });
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
    return this.#order(rollout, { event: 'ordered', how: full ? 'promote-full' : 'promote', by: performer });
  }

  /** Has a rollout stand still when what is under way has ended; again is no change. */
  pause(name: string, performer: string): Rollout {
    const rollout = this.#needOpen(name, 'pause');
    return rollout.paused ? rollout : this.#order(rollout, { event: 'paused', by: performer });
  }

  resume(name: string, performer: string): Rollout {
    const rollout = this.#needOpen(name, 'resume');
    return rollout.paused ? this.#order(rollout, { event: 'resumed', by: performer }) : rollout;
  }

  /** Has a rollout go back; null: none is under way, and nothing was changed. */
  abort(name: string, performer: string): Rollout | null {
    const rollout = this.#open(name);
    return rollout && this.#order(rollout, { event: 'ordered', how: 'abort', by: performer });
  }

  async status(name: string): Promise<ServiceStatus> {
    const open = this.#open(name);
    const service = this.#store.service(name);
    const goal = service?.goal ?? open?.from ?? this.#needService(name).goal;
    const numbers = [goal.revision, open?.to.revision ?? null, ...(open?.among ?? []), ...this.#recent(name)];
    const candidates = numbers
      .map((number) => this.#revision(name, number))
      .filter((found) => found !== null);
    const [pool, table, machines] = await Promise.all([
      observe(this.#parts, name, candidates, new Map()),
      this.#parts.routing.status(name),
      this.#parts.hypervisor.list(),
    ]);
    const instances = pool.instances.map((instance): InstanceStatus => {
      const machine = machines.find(({ spec }) => spec.id === instance.id);
      const lastAnswer = this.#parts.monitor.reading(instance.id).last?.summary ?? null;
      return {
        ...instance,
        endpoint: machine?.endpoint ?? null,
        runState: machine?.runState ?? null,
        lastAnswer,
        usable: table?.routes.find((route) => route.instance === instance.id)?.usable ?? null,
      };
    });
    const { listen = null, traffic = null, requests = 0, failures = 0, held = 0 } = table ?? {};
    return {
      name,
      goal,
      listen,
      traffic,
      requests,
      failures,
      held,
      instances,
      open,
      warm: this.#warm(service),
    };
  }

  /** The last rollouts, and every revision; also of a service that was taken down. */
  history(name: string): { rollouts: Rollout[]; revisions: Revision[] } {
    const rollouts = this.#store.rollouts(name, 100);
    if (rollouts.length === 0) this.#needService(name);
    return { rollouts, revisions: this.#store.revisions(name) };
  }

  /** The last entries of the service's journal, over all rollouts. */
  audit(name: string): JournalEntry[] {
    if (this.#store.rollouts(name, 1).length === 0) this.#needService(name);
    return this.#store.audit(name, 1000);
  }

  async #begin(
    service: Pick<Service, 'name' | 'goal' | 'policy' | 'health'>,
    to: Goal,
    asked: Asked,
  ): Promise<Started> {
    const { name } = service;
    const target = this.#revision(name, to.revision);
    if (!asked.force && to.revision !== null && (await this.#isThere(name, service.goal, to))) {
      this.#store.putService({ ...service, warm: this.#store.service(name)?.warm ?? null });
      return { kind: 'unchanged', service: name, revision: to.revision };
    }
    await this.#tidier.idle(name);
    const rollout = this.#store.openRollout(this.#newRollout(service, to, target, asked));
    this.#runs.start(rollout);
    return { kind: 'rollout', rollout };
  }

  #newRevision(service: string, { spec, performer, gitCommit }: DeployRequest): NewRevision {
    return { ...spec, service, createdAt: this.#parts.clock.now(), createdBy: performer, gitCommit };
  }

  #newRollout(
    { name, goal: from, policy, health }: Pick<Service, 'name' | 'goal' | 'policy' | 'health'>,
    to: Goal,
    target: Revision | null,
    { kind, performer, force = false, among = [] }: Asked,
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
      policy: UNGATED.includes(kind) ? ungated(policy) : policy,
      health,
      direction: 'forward',
      state: 'open',
      reason: null,
      performer,
      startedAt: now,
      endedAt: null,
      launches: 0,
      renew: force ? now : null,
      among,
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

  #lastStable({ name, goal }: Service): Revision {
    const found = this.#store
      .revisions(name)
      .find(({ number, stableAt }) => stableAt !== null && number < (goal.revision ?? 0));
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

  #needService(name: string): Service {
    const service = this.#store.service(name);
    if (service) return service;
    const known = this.#store.services().map((other) => other.name);
    throw new UnideployError(
      'UD_UNKNOWN_SERVICE',
      `no service ${name} runs here; running: ${known.join(', ') || 'none'}`,
      'start it with unideploy up, or name another with --service',
    );
  }

  async #needArtifacts(spec: RevisionSpec): Promise<void> {
    const { image, volumes } = spec;
    const boot =
      image.kind === 'disk' ? [image.disk] : [image.kernel, ...(image.initrd ? [image.initrd] : [])];
    for (const digest of [...boot, ...volumes.map((volume) => volume.digest)]) {
      if (await this.#artifacts.has(digest)) continue;
      const message = `artifact ${digest.slice(0, 12)} is not in the store any more`;
      throw new UnideployError(
        'UD_ARTIFACT_MISSING',
        message,
        'deploy it again from its sources: unideploy rollout',
      );
    }
  }

  /**
   * Waits until a rollout of the service may begin, having the one that is under way end where somebody supersedes it.
   * Returns the revisions that its instances may be of.
   * @throws UD_LOCKED
   */
  async #makeRoom(name: string, superseder: string | null): Promise<number[]> {
    const among: number[] = [];
    await this.#tidier.idle(name);
    for (let holder = this.#open(name); holder; holder = this.#open(name)) {
      if (superseder === null) throw locked(holder);
      this.#order(holder, { event: 'ordered', how: 'supersede', by: superseder });
      await this.#runs.ended(holder.id);
      if (this.#store.rollout(holder.id)?.state === 'open') throw locked(holder);
      among.push(...holder.among, ...(holder.to.revision === null ? [] : [holder.to.revision]));
    }
    return among;
  }

  #expectRevision(name: string, expected: number | null): void {
    const serves = this.#store.service(name)?.goal.revision ?? null;
    if (expected === null || serves === expected) return;
    const [last] = this.#store.rollouts(name, 1);
    const by = last ? `, deployed by ${last.performer}` : '';
    throw new UnideployError(
      'UD_REVISION_CHANGED',
      `${name} serves ${serves === null ? 'nothing' : `revision ${serves}${by}`}, expected revision ${expected}`,
      `look at what was deployed meanwhile: unideploy history --service ${name}`,
    );
  }

  #order(rollout: Rollout, order: Order): Rollout {
    this.#store.append(rollout, this.#parts.clock.now(), order);
    this.#parts.onJournal(rollout.id);
    return rollout;
  }

  /** What keeps the new revision from more traffic; null: nothing. */
  async #unready({ service, to, among }: Rollout): Promise<string | null> {
    const numbers = [to.revision, ...among, ...this.#recent(service)];
    const candidates = numbers
      .map((number) => this.#revision(service, number))
      .filter((found) => found !== null);
    const { instances } = await observe(this.#parts, service, candidates, new Map());
    const fresh = instances.filter(({ revision, routed }) => revision === to.revision && routed);
    const bad = fresh.filter((i) => !isReady(i, to.revision));
    if (bad.length === 0) return null;
    const said = bad.map(
      ({ id }) => `${id}: ${this.#parts.monitor.reading(id).last?.summary ?? 'no answer yet'}`,
    );
    return `${bad.length} of ${fresh.length} instances of revision ${to.revision} not healthy (${said.join('; ')})`;
  }

  #warm(service: Service | null): ServiceStatus['warm'] {
    const warm = service?.warm;
    const revision = warm && this.#store.rollout(warm.rollout)?.from.revision;
    return warm && revision ? { revision, until: warm.until } : null;
  }

  #open(name: string): Rollout | null {
    return this.#store.openRollouts().find(({ service }) => service === name) ?? null;
  }

  #needOpen(name: string, verb: string): Rollout {
    const open = this.#open(name);
    if (open) return open;
    const [last] = this.#store.rollouts(name, 1);
    if (!last) this.#needService(name);
    const ended = last ? `; the last one, rollout ${last.id}, ended ${last.state}` : '';
    throw nothingOpen(
      `no rollout of ${name} is under way that one could ${verb}${ended}`,
      `see the rollouts there were: unideploy history --service ${name}`,
    );
  }

  /** The revisions that instances kept warm may be of. */
  #recent(name: string): number[] {
    return this.#store
      .revisions(name)
      .slice(0, RECENT)
      .map(({ number }) => number);
  }

  #revision(name: string, number: number | null): Revision | null {
    return number === null ? null : this.#store.revision(name, number);
  }

  #nextRollout(name: string): number {
    return (this.#store.rollouts(name, 1)[0]?.id ?? 0) + 1;
  }
}

/** Revisions back to which instances are told apart in a status. */
const RECENT = 10;

/** What is asked of a rollout besides its goal. */
interface Asked {
  kind: RolloutKind;
  performer: string;
  /** replace the instances whatever they run */
  force?: boolean;
  among?: number[];
}

type Order = Extract<Happening, { event: 'ordered' | 'paused' | 'resumed' }>;

/** Nobody looks at these while they move: they stand at no gate. */
const UNGATED: RolloutKind[] = ['rollback', 'scale', 'down'];

function locked(holder: Rollout): UnideployError {
  return new UnideployError(
    'UD_LOCKED',
    `rollout ${holder.id} of ${holder.service}, started by ${holder.performer}, is still under way`,
    `wait for it (unideploy wait --service ${holder.service}, or rollout --wait 15m), or replace it: rollout --supersede`,
  );
}

function nothingOpen(message: string, next: string): UnideployError {
  return new UnideployError('UD_NOTHING_OPEN', message, next);
}

function goalOf({ number }: Revision, { replicas, listen, traffic }: DeployRequest): Goal {
  return { revision: number, replicas, listen, traffic };
}

function nothing({ listen, traffic }: DeployRequest): { goal: Goal } {
  return { goal: { revision: null, replicas: 0, listen, traffic } };
}

/** What makes two deploys the same, whoever built them. */
function identity({ image, machine, volumes, checks }: RevisionSpec): string {
  return canonical({ image, machine, volumes, checks });
}

/** `auto`: volumes are swapped when only they differ; everything else wants other instances. */
function choose(
  wanted: StrategyChoice,
  kind: RolloutKind,
  from: Revision | null,
  to: Revision | null,
): StrategyName {
  if (!from || !to || kind === 'scale') return 'rolling';
  const change = difference(from, to);
  if (wanted === 'volume-swap' && change === 'image') {
    throw new UnideployError(
      'UD_USAGE',
      'volume-swap cannot change the image or the machine, and they differ from what runs',
      'use rollout.strategy auto, rolling, blue-green or canary',
    );
  }
  // nothing is quicker than to put the old volumes back
  const swaps =
    wanted === 'auto' || wanted === 'volume-swap' || (kind === 'rollback' && wanted !== 'rolling');
  if (swaps && change === 'volumes') return 'volume-swap';
  const moves = change !== 'none' || kind === 'restart' || kind === 'rollout';
  return wanted === 'auto' || wanted === 'volume-swap' || !moves ? 'rolling' : wanted;
}

function duration(steps: JournalEntry[]): number {
  return (steps.at(-1)?.at ?? 0) - (steps[0]?.at ?? 0);
}
