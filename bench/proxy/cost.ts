import { setTimeout as delay } from 'node:timers/promises';
import { ANSWERS, type Backend } from './backend.ts';
import type { Candidate } from './candidates.ts';
import { cpuOf } from './process-tree.ts';
import { startWrk } from './wrk.ts';

export interface Case {
  size: keyof typeof ANSWERS;
  connections: number;
}

export const CASES: Case[] = (['1 KB', '100 KB'] as const).flatMap((size) =>
  [1, 32, 256].map((connections) => ({ size, connections })),
);

/** Seconds of a load, and of it the window in which is measured: neither connecting nor the end is in it. */
const LOAD = 2;
const BEFORE = 0.35;
const WINDOW = 1.4;

/** Microseconds of CPU that the candidate's processes take for one request, in the middle of a steady load. */
export async function costOf(
  candidate: Candidate,
  backend: Backend,
  { size, connections }: Case,
  cpus: string,
): Promise<number> {
  const url = `http://127.0.0.1:${candidate.port}${ANSWERS[size].path}`;
  const { ended } = startWrk({ url, connections, seconds: LOAD, cpus });
  const now = async () => ({ cpu: cpuOf(candidate.pids), requests: await backend.requests() });
  await delay(BEFORE * 1000);
  const first = await now();
  await delay(WINDOW * 1000);
  const last = await now();
  await ended;
  return ((last.cpu - first.cpu) / (last.requests - first.requests)) * 1e6;
}
