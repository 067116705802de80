import type { JournalEntry } from '../../../src/domain/journal.ts';
import type { Rollout } from '../../../src/domain/rollout.ts';

/** What can be seen of a service once its rollout has ended, simulated or real. */
export interface Facts {
  rollout: Pick<Rollout, 'id' | 'state' | 'direction' | 'reason' | 'from' | 'to'>;
  /** of the rollout alone, oldest first */
  journal: JournalEntry[];
  /** of those that it took over from, and of repairs since */
  others: JournalEntry[];
  /** guests that were there when it began */
  before: string[];
  /** guests whose process runs */
  running: string[];
  /** guests that have gone and have left something: their run directory */
  dead: string[];
  /** the routes with a share of the requests, and the revision that each really serves; null: it does not answer */
  serving: { instance: string; labelled: number; serves: number | null }[];
  /** clients' requests wait */
  hold: boolean;
}

/** What is not as it must be after any rollout, whatever has happened to it; empty where all is well. */
export function untruths(facts: Facts): string[] {
  return [...journalOf(facts), ...instancesOf(facts), ...trafficOf(facts)];
}

/** The journal ends, once, with the verdict of the rollout, and says when it turned. */
function journalOf({ rollout, journal }: Facts): string[] {
  const problems: string[] = [];
  const ends = journal.filter((entry) => entry.event === 'rollout-finished');
  if (ends.length !== 1) problems.push(`the journal has ${ends.length} ends`);
  const [end] = ends;
  if (end && (end.verdict !== rollout.state || end.reason?.code !== rollout.reason?.code))
    problems.push(`the journal says ${end.verdict}, the rollout is ${rollout.state}`);
  const turns = journal.filter(({ event }) => event === 'rollback-started').length;
  if (turns !== Number(rollout.direction === 'back'))
    problems.push(`the journal turns ${turns} times, and the rollout went ${rollout.direction}`);
  if (rollout.state === 'failed' && !rollout.reason?.code.startsWith('UD_'))
    problems.push('it failed without a code');
  return [...problems, ...pairsOf(journal)];
}

/** Every action that was begun has ended, or the controller that had begun it has. */
function pairsOf(journal: JournalEntry[]): string[] {
  const open = new Map<string, string>();
  const problems: string[] = [];
  for (const entry of journal) {
    if (entry.event === 'rollout-resumed') open.clear();
    if (!('action' in entry)) continue;
    const { action } = entry;
    const key = JSON.stringify(action);
    if (entry.event === 'action-started') open.set(key, action.kind);
    else if (!open.delete(key)) problems.push(`${key} ended and was not under way`);
  }
  return [...problems, ...[...open.keys()].map((key) => `${key} was begun and never ended`)];
}

/** What runs was there before or was launched; what does not was retired. */
function instancesOf({ journal: own, others, before, running, dead }: Facts): string[] {
  const journal = [...others, ...own];
  const begun = (kind: 'launch' | 'retire') =>
    journal.flatMap((entry) =>
      entry.event === 'action-started' && entry.action.kind === kind ? [entry.action.instance] : [],
    );
  const done = (kind: 'launch' | 'retire') =>
    journal.flatMap((entry) =>
      entry.event === 'action-finished' && entry.action.kind === kind ? [entry.action.instance] : [],
    );
  const there = [...running, ...dead];
  const [launches, retirements, retired] = [begun('launch'), begun('retire'), done('retire')];
  return [
    ...there
      .filter((id) => !before.includes(id) && !launches.includes(id))
      .map((id) => `${id} is there, and nobody has launched it`),
    ...there.filter((id) => retired.includes(id)).map((id) => `${id} is there, and was retired`),
    ...[...before, ...done('launch')]
      .filter((id) => !there.includes(id) && !retirements.includes(id))
      .map((id) => `${id} has gone, and nobody has retired it`),
  ];
}

/** Nobody waits, and whoever answers clients serves the one revision that the verdict names. */
function trafficOf({ rollout, serving, hold }: Facts): string[] {
  const problems = hold ? ['requests still wait'] : [];
  if (rollout.state === 'failed' || rollout.state === 'superseded') return problems;
  const { revision } = rollout.state === 'succeeded' ? rollout.to : rollout.from;
  for (const { instance, labelled, serves } of serving) {
    if (labelled !== revision) problems.push(`${instance} is in the table as of revision ${labelled}`);
    if (serves !== null && serves !== revision)
      problems.push(`${instance} serves revision ${serves}, not ${revision}`);
  }
  return problems;
}
