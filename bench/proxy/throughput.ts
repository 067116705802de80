import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { median } from '../median.ts';
import { ANSWERS, type Backend, startBackend } from './backend.ts';
import { type Candidate, startEmbedded } from './candidates.ts';
import { cpuOf, leavesOf } from './process-tree.ts';
import { limitEach } from './quota.ts';
import { startWrk } from './wrk.ts';

/** Of a CPU, for each worker: what the client and the backend need fits beside it, also on two CPUs. */
export const SHARE = 0.35;
const WORKERS = [1, 2] as const;
const CONNECTIONS = 64;
const ANYWHERE = '0-1023';

/** Requests of 1 KB through the embedded engine; medians. */
export interface Throughput {
  workers: number;
  perSecond: number;
  /** CPUs that the data plane's processes had */
  cpus: number;
  /** microseconds of CPU that they took for a request */
  cpuPerRequest: number;
}

export interface Throughputs {
  /** every worker as fast as the client, the backend and the other worker let it be on this machine */
  free: Throughput[];
  /** every worker with its SHARE of a CPU; empty where there are no control groups to be made */
  limited: Throughput[];
}

/** One and two workers in turn, over the same backend and from the same client. */
export async function measureThroughput(
  folder: string,
  rounds: number,
  seconds: number,
): Promise<Throughputs> {
  const place = join(folder, 'throughput');
  await mkdir(place);
  const backend = await startBackend(place, ANYWHERE);
  const candidates: Candidate[] = [];
  const inTurn = async () => {
    const runs = candidates.map(() => [] as Omit<Throughput, 'workers'>[]);
    for (let round = 0; round < rounds; round++)
      for (const [i, candidate] of candidates.entries()) runs[i]?.push(await run(candidate, seconds));
    return runs.map((of, i) => middle(WORKERS[i] ?? 0, of));
  };
  try {
    for (const workers of WORKERS) candidates.push(await startEmbedded(place, backend.port, workers));
    for (const candidate of candidates) await run(candidate, 1);
    const free = await inTurn();
    const limits = await limitEach(
      candidates.flatMap(({ pids }) => leavesOf(pids)),
      SHARE,
    ).catch(() => undefined);
    const limited = limits ? await inTurn() : [];
    await limits?.end();
    return { free, limited };
  } finally {
    await end(candidates, backend);
  }
}

async function run({ port, pids }: Candidate, seconds: number): Promise<Omit<Throughput, 'workers'>> {
  const url = `http://127.0.0.1:${port}${ANSWERS['1 KB'].path}`;
  const before = cpuOf(pids);
  const { requests, perSecond } = await startWrk({ url, connections: CONNECTIONS, seconds, cpus: ANYWHERE })
    .ended;
  const cpu = cpuOf(pids) - before;
  return { perSecond, cpus: cpu / seconds, cpuPerRequest: (cpu / requests) * 1e6 };
}

function middle(workers: number, runs: Omit<Throughput, 'workers'>[]): Throughput {
  const of = (figure: 'perSecond' | 'cpus' | 'cpuPerRequest') => median(runs.map((run) => run[figure]));
  return { workers, perSecond: of('perSecond'), cpus: of('cpus'), cpuPerRequest: of('cpuPerRequest') };
}

async function end(candidates: Candidate[], backend: Backend): Promise<void> {
  for (const candidate of candidates) await candidate.end();
  await backend.end();
}
