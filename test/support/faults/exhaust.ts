import type { Rollout } from '../../../src/domain/rollout.ts';
import { type Aftermath, disturb, type Played } from './disturb.ts';
import { type Fault, faultsAt, nameOf } from './fault.ts';
import type { Story } from './stories.ts';
import { untruths } from './truth.ts';

/** What was played, and what of it was not as it must be. */
export interface Exhausted {
  plays: number;
  problems: string[];
}

/** Plays a story once undisturbed, and then once with every fault at every entry of its journal. */
export async function exhaust(story: Story): Promise<Exhausted> {
  const orderAt = await middleOf(story);
  const calm = await disturb(story, null, orderAt);
  const problems = [...untruths(calm.facts), ...wholeness(calm)].map((what) => `undisturbed: ${what}`);
  let plays = 1;
  for (const entry of calm.journal.keys()) {
    // What is before the order is the story of somebody who gives none.
    if (orderAt > entry + 1) continue;
    for (const fault of faultsAt(entry)) {
      const { target } = fault;
      if ((target === 'old' || target === 'new') && !calm.targets[entry]?.[target]) continue;
      plays += 1;
      const found = await problemsOf(story, calm, fault, orderAt);
      problems.push(...found.map((what) => `${nameOf(fault)}: ${what}`));
    }
  }
  return { plays, problems };
}

/** The entry after which the order of a story is given: halfway through; 0 where none is. */
async function middleOf(story: Story): Promise<number> {
  if (story.way !== 'abort' && story.way !== 'supersede') return 0;
  const { journal } = await disturb({ ...story, way: 'forward' }, null, 0);
  return Math.floor(journal.length / 2);
}

async function problemsOf(story: Story, calm: Played, fault: Fault, orderAt: number): Promise<string[]> {
  try {
    const played = await disturb(story, fault, orderAt);
    const { state, reason } = played.rollout;
    const may = endings(story, calm, fault);
    const ended = may.includes(state)
      ? []
      : [`it ended ${state} (${reason?.message}), not ${may.join(' or ')}`];
    const isGuest = fault.target === 'old' || fault.target === 'new';
    const isWhole = wholeness(played).length === 0;
    // A guest that goes when nobody looks any more is replaced by the next rollout, and by nothing else.
    const after = !isWhole && isGuest ? await played.up() : played;
    return [...ended, ...untruths(played.facts), ...wholeness(after)];
  } catch (error) {
    return [(error as Error).message];
  }
}

/** As many serve as the goal says, and there are no others. */
function wholeness({ rollout, serving, left }: Aftermath): string[] {
  const { replicas } = rollout.state === 'succeeded' ? rollout.to : rollout.from;
  return [
    ...(serving === replicas ? [] : [`${serving} serve of ${replicas}`]),
    ...left.map((id) => `${id} is left over`),
  ];
}

/** How a story may end that a fault has disturbed: as it does otherwise, unless it is said here why not. It never fails. */
function endings({ way, scene }: Story, calm: Played, { target, blow, point }: Fault): Rollout['state'][] {
  const usual = calm.rollout.state;
  switch (target) {
    case 'controller':
      // The guest that does not take the volume is found without one by the next controller, which replaces it; and a copy
      // that would not have got healthy, before it was woken.
      return way === 'back' && (scene.swap === 'replace' || scene.copies) && blow !== 'stop'
        ? [usual, 'succeeded']
        : [usual];
    case 'old':
      // Under a swap: its end is the swap's failure. Or it was the one that would not have taken the volume.
      return way === 'back' ? [usual, 'succeeded'] : [usual, 'rolled-back'];
    case 'new':
      // Seen while it matters that is the new revision's failure; once it is going anyway it is none.
      return way === 'back' ? [usual] : [usual, 'rolled-back'];
    case 'cli': {
      const { event, rollout } = calm.journal[point.entry] ?? {};
      const turn = calm.journal.findIndex((entry) => entry.event === 'rollback-started');
      const counts = event !== 'rollout-finished' && (turn < 0 || point.entry < turn);
      // One that is to give way does so on its way back as well.
      if (counts && rollout !== calm.rollout.id) return [usual, 'aborted'];
      return [counts ? 'aborted' : usual];
    }
    default:
      return [usual];
  }
}
