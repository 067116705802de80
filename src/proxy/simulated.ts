import type { Clock } from '../domain/clock.ts';
import { UnideployError } from '../errors.ts';
import type { DataPlane, RoutingTable, TableStatus } from './port.ts';

/** A data plane that only keeps tables: for `plan` and property tests. `busy` says how long a drain takes, in ms. */
export function simulatedDataPlane(clock: Clock, busy: (instance: string) => number = () => 0): DataPlane {
  const tables = new Map<string, RoutingTable>();
  const toStatus = (table: RoutingTable): TableStatus => ({
    ...table,
    held: 0,
    requests: 0,
    failures: 0,
    refused: {},
    holds: 0,
    drains: 0,
    routes: table.routes.map((route) => ({ ...route, inFlight: 0, usable: true })),
  });
  return {
    ensure: async () => {},
    apply: async (table) => {
      const before = tables.get(table.service);
      if (before && before.version >= table.version) {
        throw new UnideployError(
          'UD_TABLE_REFUSED',
          `table ${table.version} is not newer`,
          'this was simulated',
        );
      }
      tables.set(table.service, table);
      return toStatus(table);
    },
    remove: async (service) => {
      tables.delete(service);
    },
    status: async () => [...tables.values()].map(toStatus),
    drained: async (_service, instance, deadline) => {
      await clock.sleep(Math.min(busy(instance), deadline));
      return { cut: busy(instance) > deadline ? 1 : 0, websockets: 0, streams: 0 };
    },
    figures: async () => [],
    metrics: async () => '',
    upgrade: async () => {},
    stop: async () => {
      tables.clear();
    },
  };
}
