import type { TableStatus } from '../port.ts';
import { backendName, serverName, serviceWord, word } from './names.ts';
import type { ProcessRecord, Served } from './records.ts';
import type { ServerStat, Stat } from './stat.ts';

/** A service as the processes have it that serve it now, and those that served it before and are leaving. */
export function statusOf(
  { table, before }: Served,
  stats: { record: ProcessRecord; stat: Stat }[],
  out: ReadonlySet<string>,
): TableStatus {
  const name = word(table.service);
  const own = stats.flatMap(({ stat }) => stat.services.get(name) ?? []);
  const total = (of: 'requests' | 'failures' | 'held') => own.reduce((sum, each) => sum + each[of], 0);
  const servers = (role: ProcessRecord['role'][]) =>
    stats
      .filter(({ record }) => role.includes(record.role))
      .flatMap(({ stat }) => stat.servers.filter(({ backend }) => serviceWord(backend) === name));
  const [everywhere, here] = [servers(['serving', 'leaving']), servers(['serving'])];
  return {
    ...table,
    held: total('held'),
    requests: before.requests + total('requests'),
    failures: before.failures + total('failures'),
    routes: table.routes.map((route) => {
      const server = serverName(route);
      const mine = (all: ServerStat[]) => all.filter((each) => each.name === server);
      return {
        ...route,
        inFlight: mine(everywhere).reduce((sum, { inFlight }) => sum + inFlight, 0),
        usable:
          !out.has(server) &&
          mine(here)
            // the preview may have no check of its own yet
            .filter(({ backend }) => backend !== backendName(table.service, 'preview'))
            .some(({ status }) => !status.startsWith('DOWN')),
      };
    }),
  };
}
