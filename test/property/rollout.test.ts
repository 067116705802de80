import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type Simulation, simulation } from '../../src/daemon/simulation.ts';
import { bounds, type RolloutPolicy, type StrategyName } from '../../src/domain/policy.ts';
import type { Revision } from '../../src/domain/revision.ts';
import type { Rollout } from '../../src/domain/rollout.ts';
import { DEFAULT_TRAFFIC } from '../../src/domain/traffic.ts';
import { runRollout } from '../../src/engine/engine.ts';
import type { Incident } from '../../src/hypervisor/simulated/world.ts';
import { mortal } from '../support/mortal.ts';
import { goalOf, HEALTH, POLICY, revision, rollout } from '../support/revisions.ts';

/** A world, what is rolled out in it, and everything that goes wrong meanwhile. */
interface Scene {
  before: number;
  after: number;
  change: 'image' | 'volumes';
  swap: 'overlap' | 'replace';
  policy: RolloutPolicy;
  /** by the ordinal of the launch, over both rollouts */
  incidents: Map<number, Incident>;
  /** simulated ms after which the controller is killed and another takes over */
  kills: number[];
  busy: number;
}

const INCIDENTS: Incident[] = [
  'launch-rejected',
  'never-healthy',
  'dies-before-health',
  'dies-after-health',
  'hangs-after-health',
  'volume-ignored',
  'unplug-unacknowledged',
  'monitor-lost',
];

const amount = fc.oneof(fc.integer({ min: 0, max: 3 }), fc.constantFrom('25%' as const, '50%' as const));
const quiet = fc.record({
  before: fc.integer({ min: 1, max: 6 }),
  after: fc.integer({ min: 1, max: 6 }),
  change: fc.constantFrom('image' as const, 'volumes' as const),
  swap: fc.constantFrom('overlap' as const, 'replace' as const),
  policy: fc
    .record({ maxSurge: amount, maxUnavailable: amount, parallel: fc.integer({ min: 1, max: 4 }) })
    .map((chosen) => ({ ...POLICY, ...chosen })),
  incidents: fc.constant(new Map<number, Incident>()),
  kills: fc.constant<number[]>([]),
  busy: fc.integer({ min: 0, max: 3000 }),
});
const troubled = quiet.chain((scene) =>
  fc.record({
    ...(Object.fromEntries(Object.entries(scene).map(([key, value]) => [key, fc.constant(value)])) as {
      [K in keyof Scene]: fc.Arbitrary<Scene[K]>;
    }),
    incidents: fc
      .array(fc.tuple(fc.integer({ min: 1, max: 12 }), fc.constantFrom(...INCIDENTS)), { maxLength: 3 })
      .map((pairs) => new Map(pairs)),
    kills: fc.array(fc.integer({ min: 1, max: 12_000 }), { maxLength: 3 }),
  }),
);

const RUNS = Number(process.env.UNIDEPLOY_PROPERTY_RUNS ?? 1500);

describe('a rollout, whatever happens on the way', () => {
  it('reaches its goal when nothing goes wrong, also if the controller is killed at any moment', async () => {
    const kills = fc.array(fc.integer({ min: 1, max: 20_000 }), { maxLength: 3 });
    await fc.assert(
      fc.asyncProperty(quiet, kills, async (scene, moments) => {
        const end = await play({ ...scene, kills: moments });
        expect(end.rollout.state).toBe('succeeded');
        expect(end.instances).toEqual(Array(scene.after).fill('b-y'.slice(scene.change === 'image' ? 0 : 2)));
      }),
      { numRuns: RUNS },
    );
  });

  it('always ends, on the new revision everywhere or back on the old one everywhere, or says that it failed', async () => {
    await fc.assert(
      fc.asyncProperty(troubled, async (scene) => {
        const { rollout: ended, instances, admitted } = await play(scene);
        expect(ended.state).not.toBe('open');
        if (ended.state === 'failed') {
          expect(ended.reason?.code).toMatch(/^UD_/);
          return;
        }
        const goal = ended.state === 'succeeded' ? ended.to : ended.from;
        expect(instances).toHaveLength(goal.replicas);
        expect(new Set(instances).size).toBe(1);
        expect(admitted).toBe(goal.replicas);
      }),
      { numRuns: RUNS },
    );
  });
});

/** Plays a scene to its end, checking at every moment what must never be. */
async function play(scene: Scene): Promise<{ rollout: Rollout; instances: string[]; admitted: number }> {
  const old = revision(1, { swap: scene.swap });
  const next = revision(
    2,
    scene.change === 'image' ? { image: 'b', code: 'y', swap: scene.swap } : { code: 'y', swap: scene.swap },
  );
  const revisions = [old, next];
  let launched = 0;
  const fates = new Map<string, Incident | null>();
  const sim = simulation({
    start: 1_000_000,
    revisionOf: (_service, number) => revisions.find((candidate) => candidate.number === number) ?? null,
    incidentFor: (id) => {
      const fate = fates.get(id) ?? scene.incidents.get(++launched) ?? null;
      fates.set(id, fate);
      return fate;
    },
    busy: () => scene.busy,
  });
  await begin(sim, scene, old);
  const strategy: StrategyName = scene.change === 'image' ? 'rolling' : 'volume-swap';
  const now = sim.clock.now();
  const opened = rollout(2, goalOf(1, scene.before), goalOf(2, scene.after), {
    strategy,
    policy: scene.policy,
    startedAt: now,
    since: now,
  });
  sim.store.open(opened);
  watch(sim, scene, revisions, fates);
  const ended = await runWithKills(sim, scene.kills);
  const machines = await sim.world.hypervisor.list();
  const table = (await sim.dataPlane.status()).find(({ service }) => service === 'site');
  return {
    rollout: ended,
    instances: machines
      .map(({ spec }) =>
        sim.world
          .serving(spec.id)
          .digests.map((d) => d[0])
          .join(),
      )
      .map((code, n) =>
        scene.change === 'image'
          ? `${machines[n]?.spec.image.kind === 'kernel' ? (machines[n].spec.image.kernel[0] ?? '') : ''}-${code}`
          : code,
      ),
    admitted: table?.routes.filter(({ weight }) => weight > 0).length ?? 0,
  };
}

/** The pool as it stands before the rollout: healthy guests of the old revision, whatever may befall them later. */
async function begin(sim: Simulation, scene: Scene, old: Revision): Promise<void> {
  const spec = (n: number) => ({ ...old, id: `site-1-${n}`, revision: 1, rollout: 1, launchedAt: 0 });
  const ids = Array.from({ length: scene.before }, (_, n) => spec(n + 1));
  await sim.dataPlane.apply({
    service: 'site',
    version: 1,
    listen: { host: '127.0.0.1', port: 8080 },
    hold: false,
    preview: null,
    traffic: DEFAULT_TRAFFIC,
    routes: ids.map(({ id }, n) => ({
      instance: id,
      revision: 1,
      host: 'simulated',
      port: n + 1,
      weight: 100,
    })),
  });
  for (const one of ids) {
    sim.world.adopt({
      spec: one,
      state: 'running',
      runState: 'running',
      endpoint: null,
      volumes: one.volumes,
    });
  }
}

async function runWithKills(sim: Simulation, kills: number[]): Promise<Rollout> {
  for (const after of kills) {
    const life = mortal();
    const run = runRollout(sim.controller(HEALTH, life.through), 2);
    const ended = await sim.clock.until(Promise.race([run, sim.clock.sleep(after).then(() => null)]));
    if (ended) return ended;
    life.kill();
  }
  return await sim.clock.until(runRollout(sim.controller(HEALTH), 2));
}

/** Capacity never under the floor, and no share of traffic for an instance that was not verified for its revision. */
function watch(
  sim: Simulation,
  scene: Scene,
  revisions: Revision[],
  fates: Map<string, Incident | null>,
): void {
  const admitted = new Set<string>();
  const size = Math.min(scene.before, scene.after);
  const leave = scene.change === 'volumes' && scene.swap === 'replace' ? 1 : 0;
  const floor =
    size -
    Math.max(
      leave,
      bounds(scene.policy, scene.after).unavailable,
      bounds(scene.policy, scene.before).unavailable,
    );
  const start = sim.clock.now();
  sim.clock.onMoment = () => {
    if (sim.clock.now() - start > 2 * scene.policy.deadline + 60_000) throw new Error('it never ends');
  };
  const apply = sim.dataPlane.apply;
  sim.dataPlane.apply = async (table) => {
    for (const { instance, revision: number, weight } of table.routes) {
      if (weight === 0) admitted.delete(instance);
      else if (!admitted.has(instance) && !instance.startsWith('site-1-')) {
        const { ok, digests } = sim.world.serving(instance);
        const wanted = revisions
          .find((candidate) => candidate.number === number)
          ?.volumes.map(({ digest }) => digest);
        if (!ok || digests.join() !== wanted?.join())
          throw new Error(`traffic for ${instance}, which was not verified`);
        admitted.add(instance);
      }
    }
    const lost = [...fates].filter(([, fate]) => fate?.endsWith('-after-health')).length;
    const serving = table.routes.filter(
      ({ instance, weight }) => weight > 0 && sim.world.serving(instance).ok,
    ).length;
    if (serving + lost < floor && !table.hold) throw new Error(`${serving} serve, ${floor} must`);
    return await apply(table);
  };
}
