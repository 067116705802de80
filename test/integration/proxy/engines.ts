import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { onTestFinished } from 'vitest';
import { DEFAULT_TRAFFIC } from '../../../src/domain/traffic.ts';
import { embeddedDataPlane } from '../../../src/proxy/embedded/client.ts';
import { haproxyDataPlane } from '../../../src/proxy/haproxy/index.ts';
import type { DataPlane, Route, RoutingTable, TableStatus } from '../../../src/proxy/port.ts';

/**
 * The data planes that promise the same; the embedded one is the built one: `npm run build` makes it. It has one worker
 * here: the order and the bounds of a hold, and each share to the request, are kept by each worker for itself.
 */
export const ENGINES: { engine: string; open: (state: string) => DataPlane }[] = [
  { engine: 'embedded', open: (state) => embeddedDataPlane({ state, workers: 1 }) },
  { engine: 'haproxy', open: (state) => haproxyDataPlane({ state }) },
];

/** One service behind a data plane of its own processes, for one test. */
export interface Stage {
  plane: DataPlane;
  /** a client as the next controller has it */
  another: () => DataPlane;
  /** Applies the next version of the table of `service`. */
  apply: (change: Partial<RoutingTable> & { routes: Route[] }) => Promise<TableStatus>;
  status: (service?: string) => Promise<TableStatus>;
  url: () => string;
}

export async function stage(open: (state: string) => DataPlane): Promise<Stage> {
  const state = await mkdtemp(join(tmpdir(), 'ud-'));
  const plane = open(state);
  onTestFinished(async () => {
    for (const { service } of await plane.status()) await plane.remove(service, 100);
    await plane.stop();
    await rm(state, { recursive: true });
  });
  await plane.ensure();
  let version = 0;
  let port = 0;
  return {
    plane,
    another: () => open(state),
    async apply(change) {
      const service = change.service ?? 'shop';
      const listen = { host: '127.0.0.1', port: 0 };
      const table = await plane.apply({
        service,
        version: ++version,
        listen,
        hold: false,
        preview: null,
        traffic: DEFAULT_TRAFFIC,
        ...change,
      });
      if (service === 'shop') port = table.listen.port;
      return table;
    },
    async status(service = 'shop') {
      const table = (await plane.status()).find((each) => each.service === service);
      if (!table) throw new Error(`no table of ${service}`);
      return table;
    },
    url: () => `http://127.0.0.1:${port}/`,
  };
}

/** Waits until a condition that has to be asked for holds. */
export async function eventually(
  what: string,
  holds: () => Promise<boolean>,
  deadline = 10_000,
): Promise<void> {
  const end = Date.now() + deadline;
  while (!(await holds())) {
    if (Date.now() > end) throw new Error(`not within ${deadline} ms: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}
