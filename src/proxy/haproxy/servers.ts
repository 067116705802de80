import type { RoutingTable } from '../port.ts';
import { CHECKS, isClosed, serversOf } from './config.ts';
import type { Runtime } from './runtime.ts';

/**
 * Brings the servers of a running HAProxy to a table. A new server comes with weight 0, since it would take requests
 * before it has all its settings; shares are raised before others are lowered. A server without a route is put into
 * maintenance: what it has in flight goes on, and `deleteUnused` takes it away later.
 */
export async function setServers(runtime: Runtime, table: RoutingTable): Promise<void> {
  const wanted = serversOf(table);
  const { servers } = await runtime.figures();
  const present = new Map(servers.map((server) => [server.name, server]));
  if (!isClosed(table)) await runtime.setClosed(false);
  for (const { name, address } of wanted) {
    const server = present.get(name);
    if (server === undefined) await runtime.addServer(name, address, CHECKS);
    else if (server.status.startsWith('MAINT')) await runtime.setState(name, 'ready');
  }
  const change = ({ name, weight }: { name: string; weight: number }) =>
    weight - (present.get(name)?.weight ?? 0);
  for (const server of wanted.filter((each) => change(each) !== 0).sort((a, b) => change(b) - change(a)))
    await runtime.setWeight(server.name, server.weight);
  const names = new Set(wanted.map(({ name }) => name));
  for (const { name, status } of servers)
    if (!names.has(name) && !status.startsWith('MAINT')) {
      await runtime.setWeight(name, 0);
      await runtime.setState(name, 'maint');
    }
  if (isClosed(table)) await runtime.setClosed(true);
}

/** Takes away servers without a route; returns whether some are left, for they still have requests. */
export async function deleteUnused(runtime: Runtime, table: RoutingTable): Promise<boolean> {
  const names = new Set(serversOf(table).map(({ name }) => name));
  const unused = (await runtime.figures()).servers.filter(({ name }) => !names.has(name));
  for (const { name, inFlight } of unused) {
    if (inFlight > 0 || (await runtime.deleteServer(name))) continue;
    // a connection became idle in the meantime: closed on the way into maintenance, it is in the way no more
    await runtime.setState(name, 'ready');
    await runtime.setState(name, 'maint');
  }
  return unused.length > 0;
}
