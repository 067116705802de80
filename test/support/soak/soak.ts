import { setTimeout as delay } from 'node:timers/promises';
import { DEFAULT_TRAFFIC } from '../../../src/domain/traffic.ts';
import type { DataPlane } from '../../../src/proxy/port.ts';
import { startApp } from '../http/app.ts';
import { startBareLoad } from '../http/bare-load.ts';
import { failedOf } from '../http/ledger.ts';
import { DOWNLOAD_CUTS, WEBSOCKET_CUTS } from './cuts.ts';
import { type Footprint, footprintOf, socketsOf } from './footprint.ts';
import { type RudeServer, startRudeServer } from './rude-server.ts';

/** How many of each. */
export interface Amounts {
  connections: number;
  websockets: number;
  downloads: number;
}

export interface Soaked {
  steps: { step: string; count: number; failed: number; seconds: number }[];
  /** the first things that went wrong, for people */
  failures: string[];
  /** connections that the instance still has, though every client has long gone */
  lingering: number;
  /** before anything; after the warm-up; after everything: each in quiet */
  before: Footprint;
  warm: Footprint;
  after: Footprint;
}

/** Puts a day's worth of ended connections through a data plane, and looks at what its processes hold before and after. */
export async function soak(plane: DataPlane, state: string, amounts: Amounts): Promise<Soaked> {
  const app = await startApp('1');
  const rude = await startRudeServer();
  const failures: string[] = [];
  try {
    const [short, long] = [await serve(plane, 'short', app.port), await serve(plane, 'long', rude.port)];
    let sockets = Number.POSITIVE_INFINITY;
    let lingering = 0;
    const quiet = async (): Promise<Footprint> => {
      await until(() => rude.connections() === 0 && socketsOf(state) <= sockets);
      lingering = rude.connections();
      return await footprintOf(state);
    };
    const before = await quiet();
    sockets = before.sockets;
    const round = async ({ connections, websockets, downloads }: Amounts) => [
      await timed('short connections', connections, () => shortConnections(short, connections, failures)),
      await timed('WebSockets cut', websockets, () =>
        cutAll(WEBSOCKET_CUTS, websockets, long, rude, failures),
      ),
      await timed('downloads aborted', downloads, () =>
        cutAll(DOWNLOAD_CUTS, downloads, long, rude, failures),
      ),
    ];
    await round({
      connections: amounts.connections * WARM_UP,
      websockets: amounts.websockets * WARM_UP,
      downloads: amounts.downloads * WARM_UP,
    });
    const warm = await quiet();
    const steps = await round(amounts);
    const after = await quiet();
    return { steps, failures, lingering, before, warm, after };
  } finally {
    await rude.end();
    await app.kill();
  }
}

/** What has not returned to where it began, in words. */
export function leaksOf({ before, warm, after, failures, lingering }: Soaked): string[] {
  const exact = (['processes', 'sockets', 'files', 'handles', 'listeners'] as const)
    .filter((what) => after[what] > before[what])
    .map((what) => `${what}: ${before[what]} → ${after[what]}`);
  const memory = (['heap', 'resident'] as const)
    .filter((what) => after[what] > warm[what] + TOLERANCE[what])
    .map((what) => `${what}: ${megabytes(warm[what])} → ${megabytes(after[what])} MB`);
  const left = lingering > 0 ? [`the instance still has ${lingering} connections`] : [];
  return [...exact, ...memory, ...left, ...failures];
}

/** Bytes of memory more than after the warm-up that are no leak: code compiled later, and pages that the allocator keeps. */
export const TOLERANCE = { heap: 2 << 20, resident: 48 << 20 };

export function megabytes(bytes: number): string {
  return (bytes / (1 << 20)).toFixed(1);
}

async function serve(plane: DataPlane, service: string, port: number): Promise<number> {
  const { listen } = await plane.apply({
    service,
    version: 1,
    listen: { host: '127.0.0.1', port: 0 },
    hold: false,
    preview: null,
    traffic: DEFAULT_TRAFFIC,
    routes: [{ instance: service, revision: 1, host: '127.0.0.1', port, weight: 100 }],
  });
  return listen.port;
}

async function timed(
  step: string,
  count: number,
  run: () => Promise<number>,
): Promise<Soaked['steps'][number]> {
  const begun = performance.now();
  const failed = await run();
  return { step, count, failed, seconds: (performance.now() - begun) / 1000 };
}

/** The number that failed. */
async function shortConnections(port: number, requests: number, failures: string[]): Promise<number> {
  const ledger = await startBareLoad({
    url: `http://127.0.0.1:${port}/`,
    connections: 64,
    fresh: true,
    requests,
  }).ended;
  failures.push(...ledger.failures.map(({ kind, cause }) => `short connection: ${kind}: ${cause}`));
  return failedOf(ledger);
}

/** Every way in turn, some at a time. The number that did not end as it should, or in time. */
async function cutAll(
  cuts: typeof WEBSOCKET_CUTS,
  count: number,
  port: number,
  server: RudeServer,
  failures: string[],
): Promise<number> {
  let next = 0;
  let failed = 0;
  const late = (way: number) =>
    delay(DEADLINE, undefined, { ref: false }).then(() => Promise.reject(new Error(`way ${way}: not ended`)));
  const loop = async () => {
    while (next < count) {
      const n = next++;
      const way = n % cuts.length;
      try {
        await Promise.race([cuts[way]?.(port, server, String(n)), late(way)]);
      } catch (error) {
        failed++;
        if (failures.length < 20) failures.push((error as Error).message);
      }
    }
  };
  await Promise.all(Array.from({ length: AT_A_TIME }, loop));
  return failed;
}

/** Waits for quiet, longer than any engine or instance keeps an idle connection; what is never quiet shows in the figures. */
async function until(holds: () => boolean): Promise<void> {
  const end = Date.now() + QUIET;
  while (!holds() && Date.now() < end) await delay(50);
}

/** Of all amounts. */
const WARM_UP = 0.25;
const AT_A_TIME = 32;
/** milliseconds */
const DEADLINE = 10_000;
const QUIET = 15_000;
