import type { Sick } from '../domain/repair.ts';
import { sickOf } from '../domain/repair.ts';
import { leaveTo } from '../domain/restraint.ts';
import type { Rollout } from '../domain/rollout.ts';
import { report } from '../errors.ts';
import type { Service, Store } from '../store/port.ts';
import { type Examined, Examiner } from './examiner.ts';
import { Signal } from './signal.ts';
import { Ward, type WardParts } from './ward.ts';

/** The longest time between two looks, ms, when nothing says that something has changed. */
const LOOK_AT_LEAST_EVERY = 1000;
/** The shortest, ms: guests that are being swapped by the hundred tell of something all the time. */
const LOOK_AT_MOST_EVERY = 50;

export interface SupervisorParts extends WardParts {
  store: Pick<
    Store,
    'services' | 'service' | 'openRollouts' | 'putService' | 'revision' | 'rollouts' | 'append' | 'audit'
  >;
  /** Begins a repair; null: another rollout is under way. */
  repair: (service: string, sick: Sick[]) => Promise<Rollout | null>;
  log: (line: string) => void;
}

/** Watches the instances of every service that no rollout moves, and has those repaired that go wrong. */
export class Supervisor {
  readonly #parts: SupervisorParts;
  readonly #examiner: Examiner;
  readonly #ward: Ward;
  readonly #looking = new Set<string>();
  readonly #wake = new Signal();
  /** by service, why it could not be looked at, so that it is said once */
  readonly #obstacles = new Map<string, string>();
  #stopped = false;

  constructor(parts: SupervisorParts) {
    this.#parts = parts;
    this.#examiner = new Examiner(parts);
    this.#ward = new Ward(parts);
  }

  /** Looks for ever, until `stop`. */
  async run(): Promise<void> {
    const { hypervisor, monitor, clock } = this.#parts;
    const wake = () => this.#wake.raise();
    const unsubscribe = [hypervisor.onChange(wake), monitor.onChange(wake)];
    while (!this.#stopped) {
      this.#lookAtAll();
      await clock.sleep(LOOK_AT_MOST_EVERY);
      await this.#wake.wait(clock, LOOK_AT_LEAST_EVERY);
    }
    for (const end of unsubscribe) end();
  }

  stop(): void {
    this.#stopped = true;
    this.#wake.raise();
  }

  /** Looks at every service once that is not being looked at. */
  #lookAtAll(): void {
    try {
      for (const service of this.#resting()) void this.#lookAt(service);
    } catch (error) {
      this.#stumble('the state', error);
    }
  }

  /** Services that no rollout moves, and that are to be supervised. */
  #resting(): Service[] {
    const { store } = this.#parts;
    const moving = new Set(store.openRollouts().map(({ service }) => service));
    return store
      .services()
      .filter(
        ({ name, supervision }) => supervision.enabled && !moving.has(name) && !this.#looking.has(name),
      );
  }

  async #lookAt(service: Service): Promise<void> {
    const { name } = service;
    this.#looking.add(name);
    const again = await this.#look(service).catch((error: unknown) => this.#stumble(name, error));
    this.#looking.delete(name);
    if (again) this.#wake.raise();
  }

  /** Whether it is to be looked at again at once: what was seen is of the past. */
  async #look(service: Service): Promise<boolean> {
    const { name, goal } = service;
    const revision = goal.revision === null ? null : this.#parts.store.revision(name, goal.revision);
    if (!revision) return false;
    const examined = await this.#examiner.examine(service, revision);
    if (this.#isMoved(service) || (await this.#ward.round(service, examined))) return true;
    const sick = examined.flatMap(({ instance, diagnosis }) =>
      diagnosis ? [sickOf(instance.id, diagnosis, service.supervision)] : [],
    );
    const serving = examined.filter(({ instance, diagnosis }) => !diagnosis && instance.weight > 0);
    if (sick.length > 0 || serving.length < goal.replicas) await this.#treat(service, sick, examined);
    this.#obstacles.delete(name);
    return false;
  }

  /** A rollout has begun since, or ended with another goal. */
  #isMoved({ name, goal }: Service): boolean {
    const { store } = this.#parts;
    const now = store.service(name);
    return (
      this.#stopped ||
      now?.goal.revision !== goal.revision ||
      now?.goal.replicas !== goal.replicas ||
      store.openRollouts().some(({ service }) => service === name)
    );
  }

  async #treat({ name, supervision, gaveUp }: Service, sick: Sick[], examined: Examined[]): Promise<void> {
    if (gaveUp) return;
    const { store, clock, repair } = this.#parts;
    const leave = leaveTo(store.rollouts(name, supervision.limits.repairs), supervision.limits, clock.now());
    if (leave.kind === 'wait') return;
    if (leave.kind === 'stop') return this.#giveUp(name, `${leave.why}${last(examined)}`);
    try {
      const rollout = await repair(name, sick);
      if (rollout) this.#say(name, `is repaired by rollout ${rollout.id}`);
    } catch (error) {
      const { code, message } = report(error);
      if (code === 'UD_ARTIFACT_MISSING') this.#giveUp(name, `no repair can begin: ${message}`);
      else if (code !== 'UD_LOCKED') throw error;
    }
  }

  #giveUp(name: string, why: string): void {
    const { store, clock, onJournal } = this.#parts;
    const service = store.service(name);
    if (!service) return;
    const at = clock.now();
    const id = store.rollouts(name, 1)[0]?.id ?? 0;
    store.append({ id, service: name }, at, { event: 'supervision-stopped', why });
    store.putService({ ...service, gaveUp: { at, why } });
    onJournal(id);
    this.#say(name, `is repaired no more: ${why}`);
  }

  /** What keeps it from looking, a data plane that is just being started say, may be over soon. */
  #stumble(name: string, error: unknown): false {
    const { message } = report(error);
    if (this.#obstacles.get(name) !== message) this.#say(name, `is not supervised: ${message}`);
    this.#obstacles.set(name, message);
    return false;
  }

  #say(service: string, line: string): void {
    this.#parts.log(`${service} ${line}`);
  }
}

/** What is wrong now, to go with why nothing is done about it. */
function last(examined: Examined[]): string {
  const found = examined.find(({ diagnosis }) => diagnosis);
  return found?.diagnosis ? ` (${found.instance.id} ${found.diagnosis.sentence})` : '';
}
