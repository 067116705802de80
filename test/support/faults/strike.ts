import { setTimeout as pause } from 'node:timers/promises';
import type { JournalEntry } from '../../../src/domain/journal.ts';
import { end, isAlive } from '../cli/processes.ts';
import type { Running, Workplace } from '../cli/workplace.ts';
import { eventually } from '../qemu/asking.ts';
import type { Case, Move } from './cases.ts';
import { STOPPED } from './fault.ts';

const SIGNALS = { kill: 'SIGKILL', stop: 'SIGSTOP', terminate: 'SIGTERM' } as const;

/** Process ids as they were before the rollout. */
export interface Staff {
  controller: number;
  dataPlane: number;
  workers: number[];
  guests: Record<string, number>;
}

export async function staffOf(place: Workplace): Promise<Staff> {
  const workers = () =>
    place
      .processes()
      .filter(({ words }) => words.some((word) => word.endsWith('/worker.js')))
      .map(({ pid }) => pid);
  await eventually('two workers serve', () => workers().length === 2);
  const [controller, dataPlane, guests] = await Promise.all([
    place.controllerPid(),
    place.dataPlanePid(),
    place.guestPids(),
  ]);
  return { controller, dataPlane, workers: workers(), guests };
}

/** What a case strikes; null: it has gone already. */
export async function victimOf(
  { target, move }: Case,
  place: Workplace,
  staff: Staff,
  cli: Running,
  journal: JournalEntry[],
): Promise<number | null> {
  switch (target) {
    case 'controller':
      return staff.controller;
    case 'data plane':
      return staff.dataPlane;
    case 'worker':
      return staff.workers[0] ?? null;
    case 'cli':
      return cli.pid;
    default: {
      const fresh = freshOf(move, staff, await place.guestPids(), journal);
      const alive = Object.entries(await place.guestPids()).filter(([, pid]) => isAlive(pid));
      const found = alive.find(([id]) => fresh.has(id) === (target === 'new'));
      return found?.[1] ?? null;
    }
  }
}

/** Guests that have, or are just being given, what is new. */
function freshOf(
  { change }: Move,
  { guests }: Staff,
  now: Record<string, number>,
  journal: JournalEntry[],
): Set<string> {
  if (change === 'image') return new Set(Object.keys(now).filter((id) => !(id in guests)));
  return new Set(
    journal.flatMap((entry) =>
      entry.event === 'action-started' && entry.action.kind === 'swapVolume' ? [entry.action.instance] : [],
    ),
  );
}

/** Sends the signal; a process that was stopped goes on after its time. */
export async function strike({ blow }: Case, pid: number): Promise<void> {
  end(pid, SIGNALS[blow]);
  if (blow !== 'stop') return;
  await pause(STOPPED);
  end(pid, 'SIGCONT');
}
