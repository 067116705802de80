import type { RoutingTable } from '../port.ts';
import { word } from './names.ts';
import { hasMap, isClosed, mapEntries, type PoolLines, poolsOf, serverOptions } from './pools.ts';
import { mapFile, type ProcessFiles } from './records.ts';
import type { Runtime } from './runtime.ts';
import type { ServerStat } from './stat.ts';

/**
 * Brings the servers of a running HAProxy to a service's table. A new server comes with weight 0, since it would take
 * requests before it has all its settings; shares are raised before others are lowered. A server without a route is put
 * into maintenance: what it has in flight goes on, and `deleteUnused` takes it away later. `out` are ejected servers.
 */
export async function setServers(
  runtime: Runtime,
  files: ProcessFiles,
  table: RoutingTable,
  out: ReadonlySet<string>,
): Promise<void> {
  const { servers, backends } = await runtime.stat();
  if (!isClosed(table)) await runtime.setClosed(word(table.service), false);
  // nor may it have all the backends
  for (const pool of poolsOf(table, out).filter(({ backend }) => backends.has(backend)))
    await setPool(
      runtime,
      pool,
      servers.filter(({ backend }) => backend === pool.backend),
      serverOptions(table),
    );
  // one that is leaving may be without the map
  if (hasMap(table) && (await runtime.hasMap(mapFile(files, table.service))))
    await runtime.setMap(mapFile(files, table.service), mapEntries(table, out));
  if (isClosed(table)) await runtime.setClosed(word(table.service), true);
}

async function setPool(
  runtime: Runtime,
  { backend, servers }: PoolLines,
  present: ServerStat[],
  options: string,
): Promise<void> {
  const known = new Map(present.map((server) => [server.name, server]));
  await runtime.addServers(
    backend,
    servers.filter(({ name }) => !known.has(name)),
    options,
  );
  const resting = servers.filter(({ name }) => known.get(name)?.status.startsWith('MAINT'));
  await runtime.setState(
    backend,
    resting.map(({ name }) => name),
    'ready',
  );
  const change = ({ name, weight }: { name: string; weight: number }) =>
    weight - (known.get(name)?.weight ?? 0);
  const changed = servers.filter((server) => change(server) !== 0);
  const wanted = new Set(servers.map(({ name }) => name));
  const unused = present.filter(({ name, status }) => !wanted.has(name) && !status.startsWith('MAINT'));
  await runtime.setWeights(backend, [
    ...changed.sort((a, b) => change(b) - change(a)),
    ...unused.map(({ name }) => ({ name, weight: 0 })),
  ]);
  await runtime.setState(
    backend,
    unused.map(({ name }) => name),
    'maint',
  );
}

/** Takes away servers without a route; returns whether some are left, for they still have requests. */
export async function deleteUnused(runtime: Runtime, table: RoutingTable): Promise<boolean> {
  const { servers } = await runtime.stat();
  let left = false;
  for (const pool of poolsOf(table)) {
    const wanted = new Set(pool.servers.map(({ name }) => name));
    for (const { backend, name, inFlight } of servers) {
      if (backend !== pool.backend || wanted.has(name)) continue;
      left = true;
      if (inFlight > 0 || (await runtime.deleteServer(backend, name))) continue;
      // a connection became idle in the meantime: closed on the way into maintenance, it is in the way no more
      await runtime.setState(backend, [name], 'ready');
      await runtime.setState(backend, [name], 'maint');
    }
  }
  return left;
}
