import { join } from 'node:path';
import { toTable } from '../engine/routing.ts';
import { everSeen, traces } from '../hypervisor/qemu/traces.ts';
import { embeddedDataPlane } from '../proxy/embedded/client.ts';
import { tablesOnDisk } from '../proxy/haproxy/records.ts';
import type { RoutingTable } from '../proxy/port.ts';
import type { Found } from '../store/rebuild.ts';
import { readRecords } from '../store/records.ts';
import type { StatePaths } from './paths.ts';

/** How long a data plane may take to say what it serves, in ms. */
const ANSWERS_WITHIN = 5000;

/** Everything that tells of a state besides its database. @param tables ask the data plane, too, if one runs */
export async function findAll({ root, records }: StatePaths, tables: boolean): Promise<Found> {
  const machines = (await traces(root)).flatMap(({ spec, pids, endpoint, volumes }) =>
    spec ? [{ spec, runs: pids.length > 0, endpoint, volumes }] : [],
  );
  return {
    machines,
    tables: tables ? await tablesOf(root) : [],
    records: readRecords(records),
    seen: await everSeen(root),
  };
}

/** Of whichever data plane serves: nobody is started, and one that does not answer has none. */
async function tablesOf(root: string): Promise<RoutingTable[]> {
  const late = new Promise<[]>((resolve) => {
    setTimeout(() => resolve([]), ANSWERS_WITHIN).unref();
  });
  const embedded = embeddedDataPlane({ state: root })
    .status()
    .then((tables) => tables.map(toTable))
    .catch(() => []);
  return [...(await Promise.race([embedded, late])), ...(await tablesOnDisk(join(root, 'haproxy')))];
}
