import type { Clock } from '../domain/clock.ts';
import { UnideployError } from '../errors.ts';
import type { DataPlane, RoutingTable, TableStatus } from './port.ts';

/** A data plane that only keeps tables, and to whose processes something can happen. */
export interface SimulatedDataPlane extends DataPlane {
  /** Its processes end in this moment, with all that they knew; `ensure` starts it again. */
  kill(): void;
  /** It answers nobody for so many ms. */
  halt(ms: number): void;
  /** What is in flight breaks off: nobody has to wait for it any more. */
  breakRequests(): void;
}

/** How long it takes to start, in ms. */
const START = 300;

/** For `plan` and property tests. `busy` says how long a drain takes, in ms. */
export function simulatedDataPlane(
  clock: Clock,
  busy: (instance: string) => number = () => 0,
): SimulatedDataPlane {
  const tables = new Map<string, RoutingTable>();
  /** counts the processes that there were */
  let life = 1;
  let runs = true;
  let stoppedUntil = 0;
  let broken = () => {};
  let untilBroken = new Promise<void>((resolve) => {
    broken = resolve;
  });
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
  /** What a call comes to whose process may stand still, or be gone before it has answered. */
  const answer = async <T>(question: () => T | Promise<T>): Promise<T> => {
    const asked = life;
    while (runs && asked === life && clock.now() < stoppedUntil)
      await clock.sleep(stoppedUntil - clock.now());
    const said = runs && asked === life ? await question() : undefined;
    if (runs && asked === life) return said as T;
    throw new UnideployError('UD_PROXY_FAILED', 'the data plane does not answer', 'this was simulated');
  };
  return {
    ensure: async () => {
      if (runs) return;
      await clock.sleep(START);
      runs = true;
    },
    apply: (table) =>
      answer(() => {
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
      }),
    remove: (service) => answer(() => void tables.delete(service)),
    status: () => answer(() => [...tables.values()].map(toStatus)),
    drained: (_service, instance, deadline) =>
      answer(async () => {
        await Promise.race([clock.sleep(Math.min(busy(instance), deadline)), untilBroken]);
        return { cut: busy(instance) > deadline ? 1 : 0, websockets: 0, streams: 0 };
      }),
    figures: async () => [],
    metrics: async () => '',
    upgrade: async () => {},
    stop: async () => {
      tables.clear();
    },
    kill: () => {
      tables.clear();
      life += 1;
      runs = false;
      stoppedUntil = 0;
    },
    breakRequests: () => {
      broken();
      untilBroken = new Promise((resolve) => {
        broken = resolve;
      });
    },
    halt: (ms) => {
      stoppedUntil = clock.now() + ms;
    },
  };
}
