import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { onTestFinished } from 'vitest';
import { DEFAULT_TRAFFIC, type TrafficPolicy } from '../../../src/domain/traffic.ts';
import { embeddedDataPlane } from '../../../src/proxy/embedded/client.ts';
import { haproxyDataPlane } from '../../../src/proxy/haproxy/index.ts';
import type { DataPlane, Route, RoutingTable, TableStatus } from '../../../src/proxy/port.ts';

/** How a data plane is opened in a state folder; `workers`: of the embedded one, if it is started by this. */
export type Open = (state: string, workers?: number) => DataPlane;

interface Engine {
  engine: 'embedded' | 'haproxy';
  open: Open;
}

/**
 * The data planes that promise the same; the embedded one is the built one: `npm run build` makes it. It has one worker
 * where a test does not say otherwise: the order and the bounds of a hold are kept by each worker for itself.
 * UNIDEPLOY_ENGINE names one of them, to run the tests against that one alone.
 */
export const ENGINES: Engine[] = (
  [
    { engine: 'embedded', open: (state, workers = 1) => embeddedDataPlane({ state, workers }) },
    { engine: 'haproxy', open: (state) => haproxyDataPlane({ state }) },
  ] satisfies Engine[]
).filter(({ engine }) => (process.env.UNIDEPLOY_ENGINE ?? engine) === engine);

/** A table, with what it changes of the usual policy. */
type TableChange = Partial<Omit<RoutingTable, 'traffic'>> & {
  routes: Route[];
  traffic?: Partial<TrafficPolicy>;
};

/** One service behind a data plane of its own processes, for one test. */
export interface Stage {
  /** the data plane's folder */
  state: string;
  plane: DataPlane;
  /** a client as the next controller has it */
  another: () => DataPlane;
  /** Applies the next version of the table of `service`. */
  apply: (change: TableChange) => Promise<TableStatus>;
  status: (service?: string) => Promise<TableStatus>;
  url: () => string;
  port: () => number;
}

/** `workers`: of the embedded data plane. */
export async function stage(open: Open, workers?: number): Promise<Stage> {
  const state = await mkdtemp(join(tmpdir(), 'ud-'));
  const plane = open(state, workers);
  onTestFinished(async () => {
    for (const { service } of await plane.status()) await plane.remove(service, 100);
    await plane.stop();
    await rm(state, { recursive: true });
  });
  await plane.ensure();
  let version = 0;
  let port = 0;
  return {
    state,
    plane,
    another: () => open(state, workers),
    async apply({ traffic, ...change }) {
      const service = change.service ?? 'shop';
      const listen = { host: '127.0.0.1', port: 0 };
      const table = await plane.apply({
        service,
        version: ++version,
        listen,
        hold: false,
        preview: null,
        traffic: { ...DEFAULT_TRAFFIC, ...traffic },
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
    port: () => port,
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
