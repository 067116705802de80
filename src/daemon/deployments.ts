import type { JournalEntry } from '../domain/journal.ts';
import type { StrategyName } from '../domain/policy.ts';
import { isReady } from '../domain/pool.ts';
import { canonical, difference, type Revision, type RevisionSpec } from '../domain/revision.ts';
import type { Goal, Rollout, RolloutKind } from '../domain/rollout.ts';
import type { EngineParts } from '../engine/engine.ts';
import { observe } from '../engine/observe.ts';
import { UnideployError } from '../errors.ts';
import type { NewRevision, NewRollout, Service, Store } from '../store/port.ts';
import type { DeployRequest, InstanceStatus, Plan, ServiceStatus, Started } from './messages.ts';
import { simulate } from './plan.ts';

/** Everything a rollout's artifacts must be in before it may begin. */
export interface Artifacts {
  has(digest: string): Promise<boolean>;
}

/** The verbs of the API: each turns what somebody asks for into a rollout, or into a refusal that changes nothing. */
export class Deployments {
  readonly #parts: EngineParts;
  readonly #store: Store;
  readonly #artifacts: Artifacts;
  /** sets a rollout going that was just opened */
  readonly #run: (rollout: Rollout) => void;

  constructor(parts: EngineParts, store: Store, artifacts: Artifacts, run: (rollout: Rollout) => void) {
    this.#parts = parts;
    this.#store = store;
    this.#artifacts = artifacts;
    this.#run = run;
  }

  async deploy(name: string, request: DeployRequest): Promise<Started> {
    this.#refuseSecond(name);
    await this.#needArtifacts(request.spec);
    const { goal: from } = this.#store.service(name) ?? nothing(request);
    const target =
      this.#known(name, request.spec, from) ?? this.#store.addRevision(this.#newRevision(name, request));
    const to: Goal = goalOf(target, request);
    const { policy, health, kind, performer } = request;
    return await this.#begin({ name, goal: from, policy, health }, to, kind, performer);
  }

  /** What `deploy` would do, step by step, if nothing went wrong. */
  async plan(name: string, request: DeployRequest): Promise<Plan> {
    const { goal: from } = this.#store.service(name) ?? nothing(request);
    const known = this.#known(name, request.spec, from);
    const number = (this.#store.revisions(name)[0]?.number ?? 0) + 1;
    const target = known ?? { ...this.#newRevision(name, request), number, stableAt: null };
    const to: Goal = goalOf(target, request);
    const { policy, health, performer } = request;
    const service = { name, goal: from, policy, health };
    if (await this.#isThere(service, to)) return { strategy: null, from, to, steps: [], ms: 0 };
    const source = this.#revision(name, from.revision);
    const opened = {
      ...this.#newRollout(service, to, target, 'rollout', performer),
      id: this.#nextRollout(name),
    };
    const machines = (await this.#parts.hypervisor.list()).filter(({ spec }) => spec.service === name);
    const table = await this.#parts.routing.status(name);
    const steps = await simulate(opened, source ? [target, source] : [target], machines, table);
    return { strategy: opened.strategy, from, to, steps, ms: duration(steps) };
  }

  /** @param revision null: the last stable one before the one that runs */
  async rollback(name: string, revision: number | null, performer: string): Promise<Started> {
    this.#refuseSecond(name);
    const service = this.#needService(name);
    const target = revision === null ? this.#lastStable(service) : this.#needRevision(name, revision);
    await this.#needArtifacts(target);
    return await this.#begin(service, { ...service.goal, revision: target.number }, 'rollback', performer);
  }

  async scale(name: string, replicas: number, performer: string): Promise<Started> {
    this.#refuseSecond(name);
    const service = this.#needService(name);
    return await this.#begin(service, { ...service.goal, replicas }, 'scale', performer);
  }

  async down(name: string, performer: string): Promise<Started> {
    this.#refuseSecond(name);
    const service = this.#needService(name);
    return await this.#begin(service, { ...service.goal, revision: null, replicas: 0 }, 'down', performer);
  }

  async status(name: string): Promise<ServiceStatus> {
    const open = this.#store.openRollouts().find(({ service }) => service === name) ?? null;
    const goal = this.#store.service(name)?.goal ?? open?.from ?? this.#needService(name).goal;
    const numbers = [goal.revision, open?.to.revision ?? null];
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
    return { name, goal, listen, traffic, requests, failures, held, instances, open };
  }

  /** The last rollouts, and every revision; also of a service that was taken down. */
  history(name: string): { rollouts: Rollout[]; revisions: Revision[] } {
    const rollouts = this.#store.rollouts(name, 100);
    if (rollouts.length === 0) this.#needService(name);
    return { rollouts, revisions: this.#store.revisions(name) };
  }

  async #begin(service: Service, to: Goal, kind: RolloutKind, performer: string): Promise<Started> {
    const target = this.#revision(service.name, to.revision);
    if (to.revision !== null && (await this.#isThere(service, to))) {
      this.#store.putService(service);
      return { kind: 'unchanged', service: service.name, revision: to.revision };
    }
    const rollout = this.#store.openRollout(this.#newRollout(service, to, target, kind, performer));
    this.#run(rollout);
    return { kind: 'rollout', rollout };
  }

  #newRevision(service: string, { spec, performer, gitCommit }: DeployRequest): NewRevision {
    return { ...spec, service, createdAt: this.#parts.clock.now(), createdBy: performer, gitCommit };
  }

  #newRollout(
    service: Service,
    to: Goal,
    target: Revision | null,
    kind: RolloutKind,
    performer: string,
  ): NewRollout {
    const { name, goal: from, policy, health } = service;
    const now = this.#parts.clock.now();
    return {
      service: name,
      kind,
      from,
      to,
      strategy: choose(policy.strategy, this.#revision(name, from.revision), target),
      policy,
      health,
      direction: 'forward',
      state: 'open',
      reason: null,
      performer,
      startedAt: now,
      since: now,
      endedAt: null,
      launches: 0,
    };
  }

  /** Whether the pool is whole already: the goal is the one that was reached last, and every instance is there. */
  async #isThere({ name, goal }: Service, to: Goal): Promise<boolean> {
    const target = this.#revision(name, to.revision);
    if (!target || goal.revision !== to.revision || goal.replicas !== to.replicas) return false;
    if (canonical(goal.traffic) !== canonical(to.traffic)) return false;
    const { listen, traffic } = (await this.#parts.routing.status(name)) ?? {};
    const sameAddress =
      listen?.host === to.listen.host && (to.listen.port === 0 || listen.port === to.listen.port);
    const sameFront = sameAddress && canonical(traffic) === canonical(to.traffic);
    const { instances } = await observe(this.#parts, name, [target], new Map());
    const whole =
      instances.length === to.replicas && instances.every((i) => isReady(i, to.revision) && i.weight > 0);
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

  #refuseSecond(name: string): void {
    const holder = this.#store.openRollouts().find(({ service }) => service === name);
    if (!holder) return;
    throw new UnideployError(
      'UD_LOCKED',
      `rollout ${holder.id} of ${name}, started by ${holder.performer}, is still under way`,
      `wait for it (unideploy status --service ${name} --watch), then try again`,
    );
  }

  #revision(name: string, number: number | null): Revision | null {
    return number === null ? null : this.#store.revision(name, number);
  }

  #nextRollout(name: string): number {
    return (this.#store.rollouts(name, 1)[0]?.id ?? 0) + 1;
  }
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
function choose(wanted: 'auto' | StrategyName, from: Revision | null, to: Revision | null): StrategyName {
  const change = from && to ? difference(from, to) : 'image';
  if (wanted === 'volume-swap' && change === 'image' && from && to) {
    throw new UnideployError(
      'UD_USAGE',
      'volume-swap cannot change the image or the machine, and they differ from what runs',
      'use rollout.strategy auto or rolling',
    );
  }
  if (wanted === 'rolling') return 'rolling';
  return change === 'volumes' ? 'volume-swap' : 'rolling';
}

function duration(steps: JournalEntry[]): number {
  return (steps.at(-1)?.at ?? 0) - (steps[0]?.at ?? 0);
}
