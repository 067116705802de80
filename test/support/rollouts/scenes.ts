import fc from 'fast-check';
import type { Metric } from '../../../src/domain/analysis.ts';
import {
  type CanaryStep,
  type RolloutPolicy,
  STRATEGIES,
  type StrategyName,
} from '../../../src/domain/policy.ts';
import type { DataVolume } from '../../../src/domain/revision.ts';
import type { Costs, Incident } from '../../../src/hypervisor/simulated/world.ts';
import { metric } from '../metrics.ts';
import { POLICY } from '../revisions.ts';

/** What a measurement comes to. */
type Said = 'success' | 'failure' | 'inconclusive' | 'error';

/** Something that happens to a rollout from outside, so many simulated ms after it began. */
export interface Interruption {
  after: number;
  what: 'kill' | 'abort' | 'promote' | 'promote-full' | 'pause' | 'supersede';
}

/** A world, what is rolled out in it, and everything that happens meanwhile. */
export interface Scene {
  before: number;
  after: number;
  /** none: a restart */
  change: 'image' | 'volumes' | 'none';
  swap: 'overlap' | 'replace';
  /** guests may be copies of a template */
  copies: boolean;
  strategy: StrategyName;
  policy: RolloutPolicy;
  /** by the ordinal of the launch, over all rollouts */
  incidents: Map<number, Incident>;
  /** of the guests that are there already, by their ordinal */
  troubles: Map<number, Incident>;
  /** the outcomes of measurements, one after the other; after the last all are good */
  said: Said[];
  interruptions: Interruption[];
  /** what a third revision, that supersedes, changes of the first one, and how it is brought */
  third: { change: 'image' | 'volumes'; strategy: StrategyName };
  /** ms that a drain takes, and how long whoever paused a rollout waits before resuming it */
  busy: number;
  pause: number;
  costs: Partial<Costs>;
  /** of every revision; left out: none */
  data?: DataVolume[];
}

const INCIDENTS: Incident[] = [
  'launch-rejected',
  'never-healthy',
  'dies-before-health',
  'dies-after-health',
  'hangs-after-health',
  'flaps',
  'volume-ignored',
  'unplug-unacknowledged',
  'monitor-lost',
  'copy-rejected',
  'copy-asleep',
];
/** What a guest can have that serves well before its volumes are touched. */
const TROUBLES: Incident[] = ['volume-ignored', 'unplug-unacknowledged', 'monitor-lost'];

const METRIC: Metric = metric({ errors: 1 });

const amount = fc.oneof(fc.integer({ min: 0, max: 3 }), fc.constantFrom('25%' as const, '50%' as const));
const some = (...ms: number[]) => fc.constantFrom(...ms);
const size = fc.integer({ min: 1, max: 6 });

const steps: fc.Arbitrary<CanaryStep[]> = fc
  .uniqueArray(fc.integer({ min: 1, max: 99 }), { maxLength: 3 })
  .chain((weights) =>
    fc.tuple(
      ...weights
        .sort((a, b) => a - b)
        .map((weight) =>
          fc.record({
            weight: fc.constant(weight),
            pause: fc.constantFrom(0, 0, 1500, null),
            analysis: fc.boolean(),
          }),
        ),
    ),
  );

const policy: fc.Arbitrary<RolloutPolicy> = fc
  .record({
    maxSurge: amount,
    maxUnavailable: amount,
    parallel: fc.oneof(fc.constant('auto' as const), fc.integer({ min: 1, max: 4 })),
    batchWait: some(0, 0, 1500),
    minHealthy: some(0, 0, 2000),
    promotion: fc.constantFrom(0, 0, 2000, null),
    steps,
    bake: some(0, 0, 2500),
    warm: some(0, 60_000),
    gateTimeout: fc.record({
      after: some(5000, 15_000),
      action: fc.constantFrom('rollback' as const, 'promote' as const),
    }),
    analysis: fc.option(
      fc.record({
        interval: some(500, 1000),
        count: fc.integer({ min: 1, max: 2 }),
        dryRun: fc.boolean(),
        metrics: fc.constant<Metric[]>([METRIC]),
      }),
    ),
  })
  .map((chosen) => ({ ...POLICY, ...chosen }));

const way: fc.Arbitrary<Pick<Scene, 'change' | 'strategy' | 'before' | 'after'>> = fc
  .record({
    change: fc.constantFrom(
      'image' as const,
      'image' as const,
      'volumes' as const,
      'volumes' as const,
      'none' as const,
    ),
    strategy: fc.constantFrom(...STRATEGIES),
    before: size,
    after: fc.option(size),
  })
  .map(({ change, strategy, before, after }) => ({
    change,
    strategy: possible(strategy, change),
    before,
    after: change === 'none' ? before : (after ?? before),
  }));

/** What the controller chooses where volumes cannot be swapped. */
function possible(strategy: StrategyName, change: Scene['change']): StrategyName {
  return strategy === 'volume-swap' && change !== 'volumes' ? 'rolling' : strategy;
}

/** Rollouts in which nothing goes wrong and nobody says a word. */
export const quiet: fc.Arbitrary<Scene> = fc
  .record({
    way,
    swap: fc.constantFrom('overlap' as const, 'replace' as const),
    copies: fc.boolean(),
    policy,
    third: fc.record({
      change: fc.constantFrom('image' as const, 'volumes' as const),
      strategy: fc.constantFrom(...STRATEGIES),
    }),
    busy: fc.integer({ min: 0, max: 3000 }),
    pause: fc.integer({ min: 1, max: 90_000 }),
    costs: fc.record({
      boot: fc.integer({ min: 100, max: 6000 }),
      attach: fc.integer({ min: 1, max: 500 }),
      stop: fc.integer({ min: 1, max: 900 }),
    }),
  })
  .map(({ way: chosen, third, ...rest }) => ({
    ...chosen,
    ...rest,
    third: { ...third, strategy: possible(third.strategy, third.change) },
    incidents: new Map(),
    troubles: new Map(),
    said: [],
    interruptions: [],
  }));

function mapOf(
  ordinals: number,
  incidents: Incident[],
  maxLength: number,
): fc.Arbitrary<Map<number, Incident>> {
  const pair = fc.tuple(fc.integer({ min: 1, max: ordinals }), fc.constantFrom(...incidents));
  return fc.array(pair, { maxLength }).map((pairs) => new Map(pairs));
}

export function interruptions(...whats: Interruption['what'][]): fc.Arbitrary<Interruption[]> {
  const one = fc.record({ after: fc.integer({ min: 1, max: 25_000 }), what: fc.constantFrom(...whats) });
  return fc.array(one, { maxLength: 3 }).map((all) => all.sort((a, b) => a.after - b.after));
}

/** The same with guests that fail, measurements that are bad, and controllers that are killed. */
export const troubled: fc.Arbitrary<Scene> = disturbed('kill');

/** The same with people who come between as well. */
export const interrupted: fc.Arbitrary<Scene> = disturbed(
  'kill',
  'abort',
  'promote',
  'promote-full',
  'pause',
  'supersede',
);

function disturbed(...whats: Interruption['what'][]): fc.Arbitrary<Scene> {
  return fc
    .record({
      scene: quiet,
      incidents: mapOf(12, INCIDENTS, 3),
      troubles: mapOf(6, TROUBLES, 1),
      said: fc.array(fc.constantFrom<Said[]>('success', 'success', 'failure', 'inconclusive', 'error'), {
        maxLength: 4,
      }),
      interruptions: interruptions(...whats),
    })
    .map(({ scene, ...rest }) => ({ ...scene, ...rest }));
}

/** The same scene, with somebody who promotes whatever it stands at. */
export function attended(scene: Scene): Scene {
  return { ...scene, policy: { ...scene.policy, gateTimeout: { after: 5000, action: 'promote' } } };
}

/** The same with an instance that is brought back as it was. */
export const restoring: fc.Arbitrary<Scene> = interrupted.map((scene) => ({
  ...scene,
  ...{ strategy: 'restore', change: 'none', after: scene.before },
}));
