import { FRONTEND, serviceWord } from './names.ts';
import { NOTHING, type Totals } from './totals.ts';

/** What HAProxy counts, of all services of a process. */
export interface Stat {
  servers: ServerStat[];
  /** connections of clients */
  clients: number;
  /** the backends that there are */
  backends: Set<string>;
  /** by the words of the services */
  services: Map<string, ServiceStat>;
}

export interface ServerStat {
  backend: string;
  name: string;
  inFlight: number;
  weight: number;
  /** what HAProxy says: UP, DOWN, MAINT, … */
  status: string;
  /** requests that went to another server after this one had failed them */
  retries: number;
}

interface ServiceStat extends Totals {
  held: number;
  /** requests that have an instance */
  inFlight: number;
}

/** Reads `show stat` and our own `unideploy held`. */
export function readStat(csv: string, held: string): Stat {
  const all = readRows(csv);
  const clients = Number(all.find(({ pxname }) => pxname === FRONTEND)?.scur ?? 0);
  const rows = all.filter(({ pxname = '' }) => pxname.includes(':'));
  const stat: Stat = { clients, servers: [], backends: new Set(), services: new Map() };
  const service = (name: string): ServiceStat => {
    const known = stat.services.get(name) ?? { ...NOTHING, refused: {}, held: 0, inFlight: 0 };
    stat.services.set(name, known);
    return known;
  };
  for (const row of rows) {
    const number = (column: string) => Number(row[column] ?? 0);
    const { pxname: backend = '', svname: name = '', status = '' } = row;
    if (name === 'BACKEND') {
      stat.backends.add(backend);
      const total = service(serviceWord(backend));
      total.requests += row.mode === 'tcp' ? number('stot') : number('req_tot');
      total.failures += number('econ') + number('eresp') + number('dreq');
      total.inFlight += number('scur');
    } else
      stat.servers.push({
        backend,
        name,
        inFlight: number('scur'),
        weight: number('weight'),
        status,
        retries: number('wredis'),
      });
  }
  for (const line of held.trim().split('\n')) {
    const [name, waiting, holds, ...refused] = line.split(' ');
    if (!name || waiting === undefined) continue;
    const total = service(name);
    total.held += Number(waiting);
    total.holds += Number(holds);
    for (const [reason = '', times] of refused.map((each) => each.split('='))) {
      total.refused[reason] = Number(times);
      total.failures += Number(times);
    }
    // a request that waits is in flight for the backend, though no instance has it
    total.inFlight = Math.max(0, total.inFlight - Number(waiting));
  }
  return stat;
}

function readRows(csv: string): Record<string, string>[] {
  const [head = '', ...lines] = csv.replace(/^# /, '').trim().split('\n');
  const columns = head.split(',');
  return lines.map((line) => {
    const cells = line.split(',');
    return Object.fromEntries(columns.map((column, i) => [column, cells[i] ?? '']));
  });
}
