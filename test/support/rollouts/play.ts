import { type Simulation, simulation } from '../../../src/daemon/simulation.ts';
import type { JournalEntry } from '../../../src/domain/journal.ts';
import type { Revision } from '../../../src/domain/revision.ts';
import type { Rollout } from '../../../src/domain/rollout.ts';
import { DEFAULT_TRAFFIC } from '../../../src/domain/traffic.ts';
import { runRollout } from '../../../src/engine/engine.ts';
import type { VirtualMachine } from '../../../src/hypervisor/port.ts';
import type { Incident } from '../../../src/hypervisor/simulated/world.ts';
import type { Measures } from '../../../src/measure/port.ts';
import type { RoutingTable } from '../../../src/proxy/port.ts';
import { mortal } from '../mortal.ts';
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
export function revisionsOf({ change, swap, third }: Scene): Revision[] {
  const second = change === 'image' ? { image: 'b', code: 'y' } : change === 'volumes' ? { code: 'y' } : {};
  const last = third.change === 'image' ? { image: 'c', code: 'z' } : { code: 'z' };
  return [revision(1, { swap }), revision(2, { ...second, swap }), revision(3, { ...last, swap })];
}

/** The rollout of a scene as it begins. */
export function opening(scene: Scene, now: number): Rollout {
  const target = scene.change === 'none' ? 1 : 2;
  return rollout(2, goalOf(1, scene.before), goalOf(target, scene.after), {
    kind: scene.change === 'none' ? 'restart' : 'rollout',
    strategy: scene.strategy,
    policy: scene.policy,
    startedAt: now,
    since: now,
    renew: scene.change === 'none' ? now : null,
  });
}

/** Plays a scene to its end, with somebody who looks on and may object. */
export async function play(scene: Scene, watch: (stage: Stage) => void): Promise<End> {
  const revisions = revisionsOf(scene);
  const fates = new Map<string, Incident | null>();
  let launched = 0;
  const sim = simulation({
    start: START,
    revisionOf: (_service, number) => revisions.find((candidate) => candidate.number === number) ?? null,
    incidentFor: (id) => {
      const fate = fates.get(id) ?? scene.incidents.get(++launched) ?? null;
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
  watch({ scene, sim, revisions, fates, rollout: () => needRollout(sim, current), object });
  const play = new Play(sim, scene);
  let ended = await play.run(current);
  if (ended.state === 'superseded') {
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
    ended = await play.run(current);
  }
  if (objections[0]) throw new Error(objections[0]);
  return await endOf(sim, ended);
}

/** Runs rollouts while people and signals come between. */
class Play {
  readonly #sim: Simulation;
  readonly #scene: Scene;
  #kill: () => void = () => {};
  #current = 0;

  constructor(sim: Simulation, scene: Scene) {
    this.#sim = sim;
    this.#scene = scene;
    for (const one of scene.interruptions) void sim.clock.sleep(one.after).then(() => this.#interrupt(one));
  }

  async run(id: number): Promise<Rollout> {
    this.#current = id;
    return await this.#sim.clock.until(this.#lives(id));
  }

  async #lives(id: number): Promise<Rollout> {
    for (;;) {
      const life = mortal();
      const killed = new Promise<null>((resolve) => {
        this.#kill = () => resolve(null);
      });
      const ended = await Promise.race([runRollout(this.#sim.controller(HEALTH, life.through), id), killed]);
      life.kill();
      if (ended) return ended;
    }
  }

  #interrupt({ what }: Interruption): void {
    if (what === 'kill') this.#kill();
    else this.#say(what);
  }

  #say(what: Exclude<Interruption['what'], 'kill'>): void {
    const { store, clock } = this.#sim;
    const open = needRollout(this.#sim, this.#current);
    if (open.state !== 'open') return;
    const by = 'tester';
    if (what === 'pause') {
      store.append(open, clock.now(), { event: 'paused', by });
      void clock
        .sleep(this.#scene.pause)
        .then(() => store.append(open, clock.now(), { event: 'resumed', by }));
    } else if (what !== 'supersede' || open.id === 2) {
      store.append(open, clock.now(), { event: 'ordered', how: what, by });
    }
  }
}

/** The pool as it stands before the rollout: healthy guests of the first revision, whatever may befall them later. */
export async function begin(sim: Simulation, scene: Scene, revisions: Revision[]): Promise<void> {
  const [old] = revisions;
  if (!old) throw new Error('there is no first revision');
  const ids = Array.from({ length: scene.before }, (_, n) => `site-1-${n + 1}`);
  await sim.dataPlane.apply({
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
  });
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
