import { bounds } from '../../../src/domain/policy.ts';
import { shares } from '../../../src/domain/shares.ts';
import type { Route, RoutingTable } from '../../../src/proxy/port.ts';
import { lettersOf, type Stage } from './play.ts';
import type { Scene } from './scenes.ts';

/** How long a good answer may be old when traffic is moved on its account, in ms. */
const FRESH_ANSWER = 5;
/** More simulated time than any scene can take: both directions with their deadlines, and everybody who may be waited for. */
const FOREVER = 1_200_000;

/** Looks on while a scene is played, and objects to what must never be. */
export function watch(stage: Stage): void {
  const { sim } = stage;
  const lastWell = new Map<string, number>();
  const begun = sim.clock.now();
  let shown: RoutingTable | null = null;
  let read = 0;
  sim.clock.onMoment = () => {
    const now = sim.clock.now();
    if (now - begun > FOREVER) throw new Error('it never ends');
    for (const { instance } of shown?.routes ?? []) note(instance, now);
    for (const instance of stage.fates.keys()) note(instance, now);
    const { entries } = sim.store;
    if (entries.length > read && entries.at(-1)?.event === 'gate-reached' && shown) checkStep(stage, shown);
    read = entries.length;
  };
  const note = (instance: string, now: number) => {
    if (sim.world.serving(instance).ok) lastWell.set(instance, now);
  };
  const apply = sim.dataPlane.apply;
  sim.dataPlane.apply = async (table) => {
    const now = sim.clock.now();
    // One that has lost it is given again what it showed.
    shown ??= (await sim.dataPlane.status())[0] ?? sim.store.table(table.service);
    const weightBefore = new Map(shown?.routes.map(({ instance, weight }) => [instance, weight]));
    for (const route of table.routes) {
      if (route.weight === 0 || (weightBefore.get(route.instance) ?? 0) > 0) continue;
      note(route.instance, now);
      checkVerified(stage, route, now - (lastWell.get(route.instance) ?? 0) <= FRESH_ANSWER);
    }
    checkCapacity(stage, table);
    checkMixture(stage, table);
    checkStep(stage, table);
    shown = table;
    return await apply(table);
  };
}

/** No share of the traffic for an instance that does not serve its revision well. */
function checkVerified({ sim, revisions, scene, fates, object }: Stage, route: Route, isWell: boolean): void {
  const { instance } = route;
  if (!isWell) object(`traffic for ${instance}, which does not answer`);
  const wanted = revisions.find(({ number }) => number === route.revision);
  const digests = sim.world.serving(instance).digests.join();
  if (wanted && digests !== wanted.volumes.map(({ digest }) => digest).join())
    object(`traffic for ${instance}, which does not serve revision ${route.revision}`);
  if (scene.policy.minHealthy > 0 && fates.get(instance) === 'flaps')
    object(`traffic for ${instance}, which flaps`);
}

function checkCapacity(stage: Stage, table: RoutingTable): void {
  const { scene, sim, fates, taken, object } = stage;
  if (table.hold) return;
  const isWell = (instance: string) => sim.world.serving(instance).ok;
  const serving = table.routes.filter(({ instance, weight }) => weight > 0 && isWell(instance));
  const serves = serving.length;
  const struck =
    [...fates].filter(([id, fate]) => fate?.endsWith('-after-health') && !isWell(id)).length +
    [...taken].filter((id) => !serving.some(({ instance }) => instance === id)).length;
  const { id, strategy, direction } = stage.rollout();
  const goesBack = direction === 'back';
  const size = Math.min(scene.before, scene.after);
  const third = { ...scene, before: size };
  const forward = floorOf(scene, strategy, id === 3 ? scene.third.change : scene.change, goesBack);
  // The one before may have taken the pool to its new size already, which is then what halves are halves of.
  const own = id === 3 ? Math.min(forward, floorOf(third, strategy, scene.third.change, goesBack)) : forward;
  // One that takes over begins with a pool from which the one before has taken what that one may, in either direction.
  const before = id === 3 ? floorOf(scene, scene.strategy, scene.change, true) : size;
  const must = own + before - size;
  if (serves + struck < must) object(`${serves} serve, ${must} must`);
}

/** What strategies/README.md promises. */
function floorOf(scene: Scene, strategy: string, change: Scene['change'], goesBack: boolean): number {
  const { before, after, policy, swap } = scene;
  const size = Math.min(before, after);
  const unavailable = Math.max(bounds(policy, before).unavailable, bounds(policy, after).unavailable);
  const rolls =
    strategy === 'rolling' || strategy === 'restore' || goesBack || before !== after
      ? size - unavailable
      : size;
  if (strategy === 'recreate') return 0;
  if (change !== 'volumes') return rolls;
  if (strategy === 'blue-green') return Math.min(Math.floor(before / 2), rolls);
  const aside = strategy === 'canary' || swap === 'replace' ? Math.max(1, unavailable) : 0;
  return Math.min(rolls, size - aside);
}

/** Clients of a blue-green rollout meet one revision, on the way forward. */
function checkMixture({ scene, taken, rollout, object }: Stage, table: RoutingTable): void {
  const { id, direction } = rollout();
  if (id !== 2 || scene.strategy !== 'blue-green' || scene.change === 'none' || direction === 'back') return;
  const met = new Set(
    table.routes
      .filter(({ instance, weight }) => weight > 0 && !taken.has(instance))
      .map(({ revision }) => revision),
  );
  if (met.size > 1) object(`clients meet the revisions ${[...met].join(' and ')}`);
}

/** While a canary stands at a step its share is what the step says, and over volumes no more guests are new than that. */
function checkStep({ scene, sim, revisions, taken, rollout, object }: Stage, table: RoutingTable): void {
  const { id, direction, strategy, gates, ending, to, paused } = rollout();
  if (
    strategy !== 'canary' ||
    direction === 'back' ||
    ending ||
    paused ||
    // Until it is seen that one has gone, the others have what it had; and who takes its place is of the new revision.
    taken.size > 0 ||
    scene.change === 'none' ||
    id === 3
  )
    return;
  const step = scene.policy.steps.find(({ weight }) => gates[`${weight} per cent`]?.passedAt === null);
  if (!step) return;
  const serve = table.routes.filter(({ weight }) => weight > 0);
  const fresh = serve.filter(({ revision }) => revision === to.revision);
  const old = serve.filter(({ revision }) => revision !== to.revision);
  const wanted = shares(step.weight, fresh.length, old.length);
  const sum = (routes: Route[]) => routes.reduce((all, { weight }) => all + weight, 0);
  if (sum(fresh) * wanted.old * old.length !== sum(old) * wanted.fresh * fresh.length)
    object(`${sum(fresh)} to ${sum(old)} is not ${step.weight} per cent`);
  if (scene.change !== 'volumes') return;
  const target = revisions.find(({ number }) => number === to.revision);
  const news = table.routes.filter(
    ({ instance }) => target && sim.world.serving(instance).digests[0]?.[0] === lettersOf(target).at(-1),
  ).length;
  if (news > Math.max(1, Math.ceil((step.weight * scene.before) / 100)))
    object(`${news} guests are new at ${step.weight} per cent`);
}
