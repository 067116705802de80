import type { TableStatus } from '../port.ts';
import { backendName, serverName, serviceWord, word } from './names.ts';
import type { ProcessRecord, Served } from './records.ts';
import type { ServerStat, Stat } from './stat.ts';
import { sum, sumByName } from './totals.ts';

/**
 * A service as the processes have it that serve it now, and those that served it before and are leaving. `refused` are
 * answers that HAProxy counts by no reason, `out` the servers that are ejected.
 */
export function statusOf(
  { table, before, drains }: Served,
  stats: { record: ProcessRecord; stat: Stat }[],
  refused: Record<string, number>,
  out: ReadonlySet<string>,
): TableStatus {
  const name = word(table.service);
  const own = stats.flatMap(({ stat }) => stat.services.get(name) ?? []);
  const total = sum([before, ...own]);
  const servers = (role: ProcessRecord['role'][]) =>
    stats
      .filter(({ record }) => role.includes(record.role))
      .flatMap(({ stat }) => stat.servers.filter(({ backend }) => serviceWord(backend) === name));
  const [everywhere, here] = [servers(['serving', 'leaving']), servers(['serving'])];
  return {
    ...table,
    ...total,
    refused: sumByName([total.refused, refused]),
    held: own.reduce((held, each) => held + each.held, 0),
    drains,
    routes: table.routes.map((route) => {
      const server = serverName(route);
      const mine = (all: ServerStat[]) => all.filter((each) => each.name === server);
      return {
        ...route,
        inFlight: mine(everywhere).reduce((all, { inFlight }) => all + inFlight, 0),
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
