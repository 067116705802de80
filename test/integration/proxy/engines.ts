import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeAll, expect, onTestFinished } from 'vitest';
import { DEFAULT_TRAFFIC, type TrafficPolicy } from '../../../src/domain/traffic.ts';
import { embeddedDataPlane } from '../../../src/proxy/embedded/client.ts';
import { haproxyDataPlane } from '../../../src/proxy/haproxy/index.ts';
import type { DataPlane, Route, RoutingTable, TableStatus } from '../../../src/proxy/port.ts';

/** `workers`: of the embedded data plane, one otherwise. */
export type Open = (state: string, workers?: number) => DataPlane;

const ALL: { engine: 'embedded' | 'haproxy'; open: Open }[] = [
  { engine: 'embedded', open: (state, workers = 1) => embeddedDataPlane({ state, workers }) },
  { engine: 'haproxy', open: (state) => haproxyDataPlane({ state }) },
];

/**
 * The data planes that promise the same; the embedded one is the built one: `npm run build` makes it. It has one worker
 * here: the order and the bounds of a hold, and each share to the request, are kept by each worker for itself.
 * UNIDEPLOY_ENGINE names the only one to be tested.
 */
export const ENGINES = ALL.filter(({ engine }) => (process.env.UNIDEPLOY_ENGINE ?? engine) === engine);

/** One service behind a data plane of its own processes, for one test. */
export interface Stage {
  plane: DataPlane;
  /** its state folder */
  state: string;
  /** a client as the next controller has it */
  another: () => DataPlane;
  /** Applies the next version of the table of `service`. */
  apply: (change: Change) => Promise<TableStatus>;
  status: (service?: string) => Promise<TableStatus>;
  /** where `shop` listens */
  port: () => number;
  url: () => string;
}

/** What of a table is not as usual. */
export type Change = Omit<Partial<RoutingTable>, 'traffic'> & {
  routes: Route[];
  traffic?: Partial<TrafficPolicy>;
};

/** A data plane for all tests of a file, each of which finds it without a service. */
export function sharedStage(open: Open): () => Stage {
  let shared: Stage;
  beforeAll(async () => {
    let end = async () => {};
    shared = await stage(open, (ending) => {
      end = ending;
    });
    return () => end();
  });
  afterEach(async () => {
    for (const { service } of await shared.plane.status()) await shared.plane.remove(service, 0);
  });
  return () => shared;
}

export async function stage(
  open: Open,
  whenFinished: (end: () => Promise<void>) => void = onTestFinished,
): Promise<Stage> {
  const state = await mkdtemp(join(tmpdir(), 'ud-'));
  const plane = open(state);
  whenFinished(async () => {
    for (const { service } of await plane.status()) await plane.remove(service, 100);
    await plane.stop();
    // a fault costs requests, and the clients of a test may not notice: no test is content with one
    const logs = (await readdir(state, { recursive: true })).filter((file) => file.endsWith('proxy.log'));
    for (const log of logs)
      expect(await readFile(join(state, log), 'utf8')).not.toContain('unexpected fault');
    await rm(state, { recursive: true });
  });
  await plane.ensure();
  let version = 0;
  let port = 0;
  return {
    plane,
    state,
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
        ...change,
        traffic: { ...DEFAULT_TRAFFIC, ...change.traffic },
      });
      if (service === 'shop') port = table.listen.port;
      return table;
    },
    async status(service = 'shop') {
      const table = (await plane.status()).find((each) => each.service === service);
      if (!table) throw new Error(`no table of ${service}`);
      return table;
    },
    port: () => port,
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
