import { table } from '../../src/cli/render/table.ts';
import { median } from '../median.ts';
import type { Case } from './cost.ts';
import { SHARE, type Throughput, type Throughputs } from './throughput.ts';

/** What a run has measured. */
export interface Figures {
  measured: string;
  machine: { cpus: number; model: string; node: string };
  rounds: number;
  /** microseconds of CPU for a request: every round's, and their median */
  cost: { name: string; cases: (Case & { runs: number[]; micros: number })[] }[];
  throughput: Throughputs;
}

interface Promised {
  what: string;
  value: number;
  kept: boolean;
}

/** What is promised of the embedded engine. */
const COST_AT_MOST = 0.5;
const TWO_WORKERS_AT_LEAST = 1.6;
/** CPUs that two workers, client and backend need to be out of each other's way */
const ENOUGH_CPUS = 4;

export function judge(figures: Figures): Promised[] {
  const cost = ratio(figures, 'http-proxy 1.18.1');
  const { free, limited } = figures.throughput;
  const wide = figures.machine.cpus >= ENOUGH_CPUS || limited.length === 0;
  const gain = gainOf(wide ? free : limited);
  return [
    {
      what: `CPU of a request of 1 KB, of that of http-proxy 1.18.1 (at most ${COST_AT_MOST})`,
      value: cost,
      kept: cost <= COST_AT_MOST,
    },
    {
      what: `requests a second of two workers, of those of one${wide ? '' : `, ${SHARE} CPU each`} (at least ${TWO_WORKERS_AT_LEAST})`,
      value: gain,
      kept: gain >= TWO_WORKERS_AT_LEAST,
    },
  ];
}

export function printed(figures: Figures, promises: Promised[]): string {
  const cases = figures.cost[0]?.cases ?? [];
  const head = ['proxy', ...cases.map(({ size, connections }) => `${size} × ${connections}`)];
  const rows = figures.cost.map(({ name, cases: of }) => [
    name,
    ...of.map(({ micros }) => micros.toFixed(0)),
    ratio(figures, name).toFixed(2),
  ]);
  const { free, limited } = figures.throughput;
  const gains = [
    ...throughputRows('as fast as the machine allows', free),
    ...throughputRows(`${SHARE} CPU for each worker`, limited),
  ];
  return [
    'CPU of a request, microseconds: medians by size of the answer and keep-alive connections',
    table([...head, 'embedded / it, 1 KB'], rows),
    table(['embedded, 1 KB × 64', 'workers', 'requests/s', 'ratio', 'CPUs', 'us a request'], gains),
    table(
      ['promised', 'measured', ''],
      promises.map(({ what, value, kept }) => [what, value.toFixed(2), kept ? 'kept' : '← broken']),
    ),
    '',
  ].join('\n\n');
}

function throughputRows(name: string, all: Throughput[]): (string | number)[][] {
  return all.map(({ workers, perSecond, cpus, cpuPerRequest }) => [
    name,
    workers,
    perSecond.toFixed(0),
    (perSecond / (all[0]?.perSecond ?? 0)).toFixed(2),
    cpus.toFixed(2),
    cpuPerRequest.toFixed(0),
  ]);
}

/** CPU of the embedded engine for a request of 1 KB, of that of another proxy: the median over the cases. */
function ratio({ cost }: Figures, name: string): number {
  const small = (of: string) =>
    cost.find((each) => each.name === of)?.cases.filter(({ size }) => size === '1 KB') ?? [];
  const theirs = small(name);
  return median(small('embedded').map(({ micros }, i) => micros / (theirs[i]?.micros ?? 0)));
}

function gainOf(all: Throughput[]): number {
  return (all[1]?.perSecond ?? 0) / (all[0]?.perSecond ?? 0);
}
