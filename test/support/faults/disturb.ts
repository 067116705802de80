import type { JournalEntry } from '../../../src/domain/journal.ts';
import type { Revision } from '../../../src/domain/revision.ts';
import type { Rollout } from '../../../src/domain/rollout.ts';
import type { InstanceSpec, VirtualMachine } from '../../../src/hypervisor/port.ts';
import type { Incident } from '../../../src/hypervisor/simulated/world.ts';
import { goalOf, rollout } from '../revisions.ts';
import { build, revisionsOf, say, type Theatre } from '../rollouts/play.ts';
import { watch } from '../rollouts/watch.ts';
import { type Fault, type Point, STOPPED, type Target } from './fault.ts';
import type { Story } from './stories.ts';
import type { Facts } from './truth.ts';

/** How long it takes until somebody has started another controller, in simulated ms. */
const RESTART = 1_000;

/** What there is once a rollout has ended. */
export interface Aftermath {
  rollout: Rollout;
  facts: Facts;
  /** how many instances serve */
  serving: number;
  /** machines that are there without a share of the requests */
  left: string[];
}

/** A story that was played to its end. */
export interface Played extends Aftermath {
  /** of all its rollouts */
  journal: JournalEntry[];
  /** Does what `up` does: the same goal once more, as a rollout of its own. */
  up(): Promise<Aftermath>;
  /** what the fault struck: a guest's id where it was one; null: there was nothing to strike */
  struck: string | null;
  /** the guests that there were to strike at each entry, by whether they are old or new */
  targets: { old: boolean; new: boolean }[];
}

/** Plays a story with one fault in it, or with none. `orderAt`: the entry after which somebody gives the order of the story's way. */
export async function disturb(story: Story, fault: Fault | null, orderAt: number): Promise<Played> {
  const theatre = await build(story.scene, watch, { restart: RESTART, fateOf: spoiler(story) });
  const { sim } = theatre;
  const before = sim.world.machines().map(({ spec }) => spec.id);
  const targets: Played['targets'] = [];
  let struck: string | null = null;
  const reached = ({ entry, when }: Point) => {
    if (when === 'before')
      targets[entry] = { old: !!guestOf(theatre, 'old'), new: !!guestOf(theatre, 'new') };
    if (fault?.point.entry !== entry || fault.point.when !== when || struck !== null) return true;
    struck = strike(theatre, fault);
    return when === 'after' || !(fault.target === 'controller' && fault.blow === 'kill');
  };
  const { append, updateRollout } = sim.store;
  let entries = 0;
  /** Entries that are written together: all, or, where the controller dies before, none. */
  const written = (count: number, write: () => void, always = false): void => {
    const these = Array.from({ length: count }, () => entries++);
    const isWritten = these.map((entry) => reached({ entry, when: 'before' })).every(Boolean) || always;
    if (isWritten) {
      write();
      for (const entry of these) reached({ entry, when: 'after' });
    }
    if (these.includes(orderAt) && (story.way === 'abort' || story.way === 'supersede'))
      void sim.clock.sleep(0).then(() => say(sim, theatre.rollout(), story.way as 'abort' | 'supersede'));
  };
  sim.store.append = (told, at, happening) => {
    let entry: JournalEntry = { ...happening, seq: 0, service: 'site', rollout: told.id, at };
    const write = () => {
      entry = append(told, at, happening);
    };
    // Somebody who gives an order, and is not answered, gives it again.
    written(1, write, happening.event === 'ordered');
    return entry;
  };
  // What a rollout is and the entries that say so are one transaction.
  sim.store.record = (told, happened) => {
    written(happened.length, () => {
      updateRollout(told);
      for (const { at, happening } of happened) append(told, at, happening);
    });
  };
  const ended = await theatre.toTheEnd();
  const journal = [...sim.store.entries];
  await settle(theatre);
  const look = (rollout: Rollout) => lookedAt(theatre, rollout, before, story);
  const up = async () => await look(await upAgain(theatre, ended));
  return { journal, struck, targets, up, ...(await look(ended)) };
}

/** In a story of a way back the second guest of the new revision is never healthy. */
function spoiler({ way }: Story): (ordinal: number, spec: InstanceSpec) => Incident | null {
  let seconds = 0;
  return (_ordinal, { revision }) =>
    way === 'back' && revision === 2 && ++seconds === 2 ? 'never-healthy' : null;
}

/** What the fault does; what it struck, null: there was nothing. */
function strike(theatre: Theatre, { target, blow }: Fault): string | null {
  const { sim, controllers } = theatre;
  switch (target) {
    case 'controller':
      if (blow === 'kill') controllers.kill();
      else if (blow === 'stop') controllers.halt(STOPPED);
      else controllers.terminate();
      return target;
    case 'data plane':
      if (blow === 'stop') sim.dataPlane.halt(STOPPED);
      else sim.dataPlane.kill();
      return target;
    case 'cli':
      if (blow === 'terminate') say(sim, theatre.rollout(), 'abort');
      return target;
    case 'worker':
      // The primary has the tables, and waits for a worker that stands still. One that ends takes its requests along.
      if (blow === 'stop') sim.dataPlane.halt(STOPPED);
      else if (blow === 'kill') sim.dataPlane.breakRequests();
      return target;
    default: {
      const guest = guestOf(theatre, target);
      if (!guest) return null;
      const { id } = guest.spec;
      theatre.taken.add(id);
      if (blow === 'stop') sim.world.halt(id, STOPPED);
      else sim.world.kill(id);
      return id;
    }
  }
}

/** A living guest of the revision that the rollout comes from, or of one that it brings: that which has it longest, or the last one to get it. */
function guestOf({ sim }: Theatre, target: Extract<Target, 'old' | 'new'>): VirtualMachine | undefined {
  const isNew = ({ spec, volumes }: VirtualMachine) =>
    (spec.image.kind === 'kernel' && !spec.image.kernel.startsWith('a')) ||
    volumes.some(({ digest }) => !digest.startsWith('x'));
  const machines = sim.world.machines().filter(({ state }) => state === 'running');
  return target === 'new' ? machines.findLast(isNew) : machines.find((machine) => !isNew(machine));
}

/** What a controller does without a rollout: it gives a data plane that was started again its tables; and processes that stood still go on. */
async function settle({ sim }: Theatre): Promise<void> {
  const { store, dataPlane, clock } = sim;
  await clock.until(clock.sleep(STOPPED + RESTART));
  await clock.until(dataPlane.ensure());
  const [table] = await dataPlane.status();
  const last = store.table('site');
  if (!table && last) await dataPlane.apply(last);
}

async function lookedAt(
  { sim }: Theatre,
  ended: Rollout,
  before: string[],
  { scene }: Story,
): Promise<Aftermath> {
  const revisions = revisionsOf(scene);
  const machines = sim.world.machines();
  const [table] = await sim.dataPlane.status();
  const routes = table?.routes.filter(({ weight }) => weight > 0) ?? [];
  const serving = routes.map(({ instance, revision }) => ({
    instance,
    labelled: revision,
    serves: servedBy(sim, revisions, instance),
  }));
  const alive = (machine: VirtualMachine) => machine.state === 'running';
  const ids = (some: VirtualMachine[]) => some.map(({ spec }) => spec.id);
  return {
    rollout: ended,
    serving: serving.filter(({ serves }) => serves !== null).length,
    left: ids(machines).filter((id) => !routes.some(({ instance }) => instance === id)),
    facts: {
      rollout: ended,
      journal: sim.store.entries.filter(({ rollout: id }) => id === ended.id),
      others: sim.store.entries.filter(({ rollout: id }) => id < ended.id),
      before,
      running: ids(machines.filter(alive)),
      dead: ids(machines.filter((machine) => !alive(machine))),
      serving,
      hold: table?.hold ?? false,
    },
  };
}

function servedBy({ world }: Theatre['sim'], revisions: Revision[], instance: string): number | null {
  const { ok, digests } = world.serving(instance);
  const machine = world.machines().find(({ spec }) => spec.id === instance);
  if (!ok || !machine) return null;
  const isOf = ({ image, volumes }: Revision) =>
    JSON.stringify(image) === JSON.stringify(machine.spec.image) &&
    volumes.map(({ digest }) => digest).join() === digests.join();
  return revisions.find(isOf)?.number ?? -1;
}

async function upAgain(theatre: Theatre, ended: Rollout): Promise<Rollout> {
  const { sim, controllers } = theatre;
  const { revision, replicas } = ended.state === 'succeeded' ? ended.to : ended.from;
  const now = sim.clock.now();
  const goal = goalOf(revision, replicas);
  sim.store.open(rollout(9, goal, goal, { startedAt: now, since: now, kind: 'scale', policy: ended.policy }));
  return await controllers.run(9);
}
