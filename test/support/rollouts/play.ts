import { type Simulation, simulation } from '../../../src/daemon/simulation.ts';
import type { JournalEntry } from '../../../src/domain/journal.ts';
import type { Revision } from '../../../src/domain/revision.ts';
import type { Rollout } from '../../../src/domain/rollout.ts';
import { DEFAULT_TRAFFIC } from '../../../src/domain/traffic.ts';
import { runRollout } from '../../../src/engine/engine.ts';
import type { InstanceSpec, VirtualMachine } from '../../../src/hypervisor/port.ts';
import type { Incident } from '../../../src/hypervisor/simulated/world.ts';
import type { Measures } from '../../../src/measure/port.ts';
import type { RoutingTable } from '../../../src/proxy/port.ts';
import { type Life, mortal } from '../mortal.ts';
import { goalOf, HEALTH, revision, rollout } from '../revisions.ts';
import type { Interruption, Scene } from './scenes.ts';

const START = 1_000_000;

/** A scene that is being played, for whoever looks on. */
export interface Stage {
  scene: Scene;
  sim: Simulation;
  revisions: Revision[];
  /** what befalls each guest that was launched */
  fates: ReadonlyMap<string, Incident | null>;
  /** the rollout under way */
  rollout: () => Rollout;
  /** guests that something has struck from outside: their share of the capacity is gone */
  taken: ReadonlySet<string>;
  /** says what must never be; the first word counts */
  object: (what: string) => void;
}

export interface End {
  rollout: Rollout;
  machines: VirtualMachine[];
  table: RoutingTable | null;
  entries: JournalEntry[];
  /** what each guest really serves, as `image code`, by its id */
  serves: Record<string, string>;
}

/** The revisions of a scene: what runs, what is rolled out, and what may supersede that. */
export function revisionsOf({ change, swap, third, data, copies }: Scene): Revision[] {
  const second = change === 'image' ? { image: 'b', code: 'y' } : change === 'volumes' ? { code: 'y' } : {};
  const last = third.change === 'image' ? { image: 'c', code: 'z' } : { code: 'z' };
  const same = { swap, data };
  const all = [revision(1, same), revision(2, { ...second, ...same }), revision(3, { ...last, ...same })];
  if (!copies) return all;
  return all.map((each) => ({ ...each, machine: { ...each.machine, wake: '/wake' } }));
}

/** The rollout of a scene as it begins. */
export function opening(scene: Scene, now: number): Rollout {
  const target = scene.change === 'none' ? 1 : 2;
  const restores = scene.strategy === 'restore';
  return rollout(2, goalOf(1, scene.before), goalOf(target, scene.after), {
    kind: restores ? 'restore' : scene.change === 'none' ? 'restart' : 'rollout',
    strategy: scene.strategy,
    policy: scene.policy,
    startedAt: now,
    since: now,
    renew: scene.change === 'none' && !restores ? now : null,
    restore: restores ? { snapshot: 'then', replaces: 'site-1-1' } : null,
  });
}

/** Plays a scene to its end, with somebody who looks on and may object. */
export async function play(scene: Scene, watch: (stage: Stage) => void): Promise<End> {
  const theatre = await build(scene, watch);
  return await endOf(theatre.sim, await theatre.toTheEnd());
}

interface Props {
  restart?: number;
  fateOf?: (ordinal: number, spec: InstanceSpec) => Incident | null;
}

/** A scene that is about to be played. */
export interface Theatre {
  sim: Simulation;
  controllers: Controllers;
  /** guests that something has struck from outside */
  taken: Set<string>;
  /** the rollout under way */
  rollout: () => Rollout;
  /** Plays the scene, and the rollout that supersedes it, if one does. Throws what was objected. */
  toTheEnd(): Promise<Rollout>;
}

/** @param props what is different from other plays: ms until another controller is there, and what befalls a guest that is launched */
export async function build(
  scene: Scene,
  watch: (stage: Stage) => void,
  { restart = 0, fateOf = (ordinal) => scene.incidents.get(ordinal) ?? null }: Props = {},
): Promise<Theatre> {
  const revisions = revisionsOf(scene);
  const fates = new Map<string, Incident | null>();
  const taken = new Set<string>();
  let launched = 0;
  const sim = simulation({
    start: START,
    revisionOf: (_service, number) => revisions.find((candidate) => candidate.number === number) ?? null,
    incidentFor: (id, spec) => {
      const fate = fates.get(id) ?? fateOf(++launched, spec);
      fates.set(id, fate);
      return fate;
    },
    busy: () => scene.busy,
    costs: scene.costs,
    measures: measuresOf(scene),
  });
  await begin(sim, scene, revisions);
  let current = 2;
  sim.store.open(opening(scene, sim.clock.now()));
  const objections: string[] = [];
  const object = (what: string) => void objections.push(`${what} (at ${sim.clock.now() - START} ms)`);
  const rolloutNow = () => needRollout(sim, current);
  watch({ scene, sim, revisions, fates, taken, rollout: rolloutNow, object });
  const controllers = new Controllers(sim, restart);
  for (const { after, what } of scene.interruptions) {
    void sim.clock.sleep(after).then(() => {
      if (what === 'kill') controllers.kill();
      else say(sim, rolloutNow(), what, scene.pause);
    });
  }
  const toTheEnd = async () => {
    const ended = await controllers.run(current);
    if (ended.state !== 'superseded') return ended;
    current = 3;
    const now = sim.clock.now();
    const { strategy } = scene.third;
    sim.store.open(
      rollout(3, goalOf(1, scene.before), goalOf(3, scene.after), {
        strategy,
        policy: scene.policy,
        startedAt: now,
        since: now,
        among: [2],
      }),
    );
    return await controllers.run(current);
  };
  return {
    sim,
    controllers,
    taken,
    rollout: rolloutNow,
    toTheEnd: async () => {
      const ended = await toTheEnd();
      if (objections[0]) throw new Error(objections[0]);
      return ended;
    },
  };
}

/** The controllers that there are, one after the other: where one ends the next takes over. */
class Controllers {
  readonly #sim: Simulation;
  readonly #restart: number;
  #life: Life = mortal();
  #leaving = new AbortController();
  #killed: () => void = () => {};

  /** @param restart ms until the next one is there */
  constructor(sim: Simulation, restart: number) {
    this.#sim = sim;
    this.#restart = restart;
  }

  async run(id: number): Promise<Rollout> {
    return await this.#sim.clock.until(this.#lives(id));
  }

  /** The present one ends in the midst of what it does. */
  kill(): void {
    this.#life.kill();
    this.#killed();
  }

  /** It is told to end: it leaves things as they are. */
  terminate(): void {
    this.#leaving.abort();
  }

  /** It does nothing, and hears nothing, for so many ms. */
  halt(ms: number): void {
    void this.#sim.clock.sleep(ms).then(this.#life.stall());
  }

  async #lives(id: number): Promise<Rollout> {
    const { store, clock } = this.#sim;
    for (;;) {
      this.#life = mortal();
      this.#leaving = new AbortController();
      const life = this.#life;
      const killed = new Promise<null>((resolve) => {
        this.#killed = () => resolve(null);
      });
      const parts = this.#sim.controller(HEALTH, life.through);
      const ended = await Promise.race([runRollout(parts, id, this.#leaving.signal), killed]);
      life.kill();
      if (ended && ended.state !== 'open') return ended;
      await clock.sleep(this.#restart);
      const left = store.rollout(id);
      if (this.#restart > 0 && left?.state === 'open')
        store.append(left, clock.now(), { event: 'rollout-resumed', controller: 1 });
    }
  }
}

/** Tells a rollout something that is still under way. */
export function say(
  { store, clock }: Simulation,
  told: Rollout,
  what: Exclude<Interruption['what'], 'kill'>,
  pause = 0,
): void {
  if (told.state !== 'open') return;
  const by = 'tester';
  if (what === 'pause') {
    store.append(told, clock.now(), { event: 'paused', by });
    void clock.sleep(pause).then(() => store.append(told, clock.now(), { event: 'resumed', by }));
  } else if (what !== 'supersede' || told.id === 2) {
    store.append(told, clock.now(), { event: 'ordered', how: what, by });
  }
}

/** The pool as it stands before the rollout: healthy guests of the first revision, whatever may befall them later. */
export async function begin(sim: Simulation, scene: Scene, revisions: Revision[]): Promise<void> {
  const [old] = revisions;
  if (!old) throw new Error('there is no first revision');
  const ids = Array.from({ length: scene.before }, (_, n) => `site-1-${n + 1}`);
  const table = {
    service: 'site',
    version: 1,
    listen: { host: '127.0.0.1', port: 8080 },
    hold: false,
    preview: null,
    traffic: DEFAULT_TRAFFIC,
    routes: ids.map((instance, n) => ({
      instance,
      revision: 1,
      host: 'simulated',
      port: n + 1,
      weight: 100,
    })),
  };
  await sim.dataPlane.apply(table);
  sim.store.putTable(table);
  for (const [n, id] of ids.entries()) {
    const spec = { ...old, id, revision: 1, rollout: 1, launchedAt: 0 };
    sim.world.adopt(
      { spec, state: 'running', runState: 'running', endpoint: null, volumes: spec.volumes },
      scene.troubles.get(n + 1),
    );
  }
}

function measuresOf({ said }: Scene): Measures {
  let next = 0;
  return {
    open: async () => ({
      measure: async () => {
        const verdict = said[next++] ?? 'success';
        if (verdict === 'error') throw new Error('nobody answers');
        return { value: 0, stable: 0, sample: 1000, verdict, said: verdict };
      },
    }),
  };
}

async function endOf(sim: Simulation, ended: Rollout): Promise<End> {
  const machines = await sim.world.hypervisor.list();
  const table = (await sim.dataPlane.status()).find(({ service }) => service === 'site') ?? null;
  const serves = machines.map(({ spec }) => [spec.id, serving(sim, spec)]);
  return { rollout: ended, machines, table, entries: sim.store.entries, serves: Object.fromEntries(serves) };
}

/** What a guest really serves: the letters of its image and its code. */
function serving(sim: Simulation, { id, image }: VirtualMachine['spec']): string {
  const { digests } = sim.world.serving(id);
  return `${image.kind === 'kernel' ? image.kernel[0] : ''} ${digests.map((digest) => digest[0]).join()}`;
}

/** The same letters of a revision. */
export function lettersOf({ image, volumes }: Revision): string {
  return `${image.kind === 'kernel' ? image.kernel[0] : ''} ${volumes.map(({ digest }) => digest[0]).join()}`;
}

function needRollout(sim: Simulation, id: number): Rollout {
  const found = sim.store.rollout(id);
  if (!found) throw new Error(`no rollout ${id}`);
  return found;
}
