import { expect } from 'vitest';
import type { History } from '../../../src/daemon/client.ts';
import type { InstanceStatus, ServiceStatus } from '../../../src/daemon/messages.ts';
import type { Action } from '../../../src/domain/action.ts';
import type { JournalEntry } from '../../../src/domain/journal.ts';
import type { Rollout } from '../../../src/domain/rollout.ts';
import type { ErrorCode } from '../../../src/errors.ts';
import { isAlive } from './processes.ts';
import type { Outcome, Workplace } from './workplace.ts';

/** How a command is to end, and what the service then is at. */
interface Ending {
  result: string;
  exitCode: number;
  revision: number | null;
  /** null: without an error */
  code: ErrorCode | null;
  /** what the rollout is in, where the result of the command is another word */
  state?: Rollout['state'];
}

/** A rollout by its records. */
export interface Story {
  rollout: Rollout;
  journal: JournalEntry[];
}

/** Expects that exit code, last line of `--json`, history and journal tell of the same end, and that it is this one. */
export async function story(place: Workplace, outcome: Outcome, ending: Ending): Promise<Story> {
  const { exitCode, stderr, last } = outcome;
  const { code, state = ending.result, ...said } = ending;
  const error = code === null ? null : { code, message: expect.any(String), next: expect.any(String) };
  expect({ stderr, exitCode, last }).toMatchObject({
    stderr: '',
    exitCode: ending.exitCode,
    last: { ...said, service: 'site', error },
  });
  const { rollout, journal } = await recordsOf(place, last.rollout ?? 0);
  expect(rollout).toMatchObject({ state });
  const end = journal.findIndex(({ event }) => event === 'rollout-finished');
  if (state === 'open') expect(end).toBe(-1);
  else expect(journal[end]).toMatchObject({ verdict: state, reason: rollout.reason });
  // after its end nothing happens any more, but that warm instances go when their time is over
  expect(journal.slice(end < 0 ? journal.length : end + 1).filter((each) => !isRetirement(each))).toEqual([]);
  if (code !== null && state === ending.result) expect(rollout.reason).toEqual(last.error);
  return { rollout, journal };
}

function isRetirement(entry: JournalEntry): boolean {
  return 'action' in entry && entry.action.kind === 'retire';
}

/** The history's and the journal's word on a rollout. */
export async function recordsOf(place: Workplace, id: number): Promise<Story> {
  const [{ rollouts }, { lines }] = await Promise.all([historyOf(place), place.cli(['audit', '--json'])]);
  const rollout = rollouts.find((each) => each.id === id);
  if (!rollout) throw new Error(`no rollout ${id} in the history`);
  return { rollout, journal: (lines as JournalEntry[]).filter((entry) => entry.rollout === id) };
}

export async function historyOf(place: Workplace): Promise<History> {
  return JSON.parse((await place.cli(['history', '--json'])).stdout) as History;
}

/** Everything that is kept of a service and everything that runs: what must not change must be equal to itself. */
export async function everything(place: Workplace): Promise<unknown> {
  const [status, history, guests] = await Promise.all([place.status(), historyOf(place), place.guestPids()]);
  const { goal, instances, open } = status;
  const pool = instances.map(({ id, revision, weight }) => ({ id, revision, weight }));
  return { history, goal, pool, open: open?.id, guests };
}

/** The instances that had this done to them, in its order; `after`: an event of the journal, from which on. */
export function did(
  { journal }: Story,
  kind: Exclude<Action['kind'], 'shift'>,
  after: JournalEntry['event'] = 'rollout-started',
): string[] {
  const from = journal.findIndex(({ event }) => event === after);
  return journal.slice(from).flatMap((entry) => {
    return entry.event === 'action-started' && entry.action.kind === kind ? [entry.action.instance] : [];
  });
}

/** The one entry of that kind. */
export function entry<E extends JournalEntry['event']>(
  { journal }: Story,
  event: E,
): Extract<JournalEntry, { event: E }> {
  const found = journal.filter((each): each is Extract<JournalEntry, { event: E }> => each.event === event);
  expect(found.map((each) => each.event)).toEqual([event]);
  return found[0] as Extract<JournalEntry, { event: E }>;
}

/**
 * Expects that so many instances of a revision serve, each verified, and besides them nothing of the service runs or is
 * under way; `idle`: further instances without traffic, by their revisions.
 */
export async function serves(
  place: Workplace,
  revision: number,
  replicas = 2,
  idle: (number | null)[] = [],
): Promise<void> {
  const { stdout } = await place.cli(['status', '--json']);
  const [status] = JSON.parse(stdout) as ServiceStatus[];
  if (!status) throw new Error(`no status: ${stdout}`);
  const { instances, open, goal } = status;
  const isServing = ({ weight, verified, health, usable }: InstanceStatus) =>
    weight > 0 && verified && health === 'healthy' && usable === true;
  expect({
    open: open?.id,
    goal: goal.revision,
    serving: instances.filter(isServing).map((each) => each.revision),
    others: instances.filter((each) => !isServing(each)).map(({ revision: its, weight }) => [its, weight]),
  }).toEqual({
    open: undefined,
    goal: revision,
    serving: Array(replicas).fill(revision),
    others: idle.map((its) => [its, 0]),
  });
  await nothingOrphaned(place, instances);
}

/** Expects that every guest that runs is an instance, every running instance has a guest, and nobody else has gone. */
async function nothingOrphaned(place: Workplace, instances: { id: string; state: string }[]): Promise<void> {
  const running = instances.filter(({ state }) => state === 'running').map(({ id }) => id);
  const guests = Object.entries(await place.guestPids()).filter(([, pid]) => isAlive(pid));
  expect(guests.map(([id]) => id)).toEqual(running.sort());
  const machines = place.processes().filter(({ words }) => words[0]?.includes('qemu-system'));
  expect(machines.map(({ pid }) => pid).sort()).toEqual(guests.map(([, pid]) => pid).sort());
  expect(isAlive(await place.dataPlanePid())).toBe(true);
}
