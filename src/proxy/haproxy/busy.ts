import type { Busy } from './drain.ts';
import { readServerName, serviceWord, word } from './names.ts';
import type { Processes } from './processes.ts';
import { servedBy } from './records.ts';
import type { ServerStat } from './stat.ts';

/** The instance's servers (all of the service's without one) that have something in flight, in every process. */
export async function busyServers(
  processes: Processes,
  service: string,
  instance: string | undefined,
): Promise<Busy[]> {
  const records = (await processes.running()).filter((record) => servedBy(record, service));
  return (await processes.stats(records)).flatMap(({ record, stat }) => {
    const runtime = processes.runtime(record);
    return stat.servers
      .filter((server) => server.inFlight > 0 && isOf(service, instance, server))
      .map(({ backend, name, inFlight }) => ({ runtime, backend, name, inFlight }));
  });
}

/** An instance that takes no requests keeps no connection: maintenance closes them, and its share stays 0. */
export async function closeIdle(processes: Processes, service: string, instance: string): Promise<void> {
  const records = (await processes.running()).filter((record) => servedBy(record, service));
  for (const { record, stat } of await processes.stats(records)) {
    const runtime = processes.runtime(record);
    for (const server of stat.servers.filter((each) => isOf(service, instance, each))) {
      if (server.weight > 0 || server.status.startsWith('MAINT')) continue;
      await runtime.setState(server.backend, [server.name], 'maint');
      await runtime.setState(server.backend, [server.name], 'ready');
    }
  }
}

function isOf(service: string, instance: string | undefined, { backend, name }: ServerStat): boolean {
  if (serviceWord(backend) !== word(service)) return false;
  return instance === undefined || readServerName(name).instance === instance;
}
