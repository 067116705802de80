import { existsSync, readFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { onTestFinished } from 'vitest';
import { DEFAULT_TRAFFIC } from '../../../src/domain/traffic.ts';
import { type EmbeddedOptions, embeddedDataPlane } from '../../../src/proxy/embedded/client.ts';
import type { DataPlane, RoutingTable } from '../../../src/proxy/port.ts';
import { type Process, processesOf } from '../../support/cli/processes.ts';
import { until } from './scene.ts';

/** A state folder and the embedded data plane in it, its processes the built ones: `npm run build` makes them. */
export interface Home {
  state: string;
  plane: DataPlane;
  /** a client as the next controller has it */
  another: (options?: Partial<EmbeddedOptions>) => DataPlane;
  /** the primary's process id, when it has been written and is not that one */
  primary: (not?: number) => Promise<number>;
  processes: () => Process[];
  workers: () => Process[];
}

/** Everything is stopped when the test has ended, and it fails if a process is left over. */
export async function home(options: Partial<EmbeddedOptions> = {}): Promise<Home> {
  const state = await mkdtemp(join(tmpdir(), 'ud-'));
  const another = (more: Partial<EmbeddedOptions> = {}) => embeddedDataPlane({ state, ...options, ...more });
  const plane = another();
  onTestFinished(async () => {
    await plane.stop();
    await until('no process is left over', () => processesOf(state).length === 0, 40_000);
    await rm(state, { recursive: true });
  });
  const recorded = () => {
    const file = join(state, 'proxy.pid');
    return existsSync(file) ? Number(readFileSync(file, 'utf8')) : 0;
  };
  return {
    state,
    plane,
    another,
    async primary(not = 0) {
      await until('the process has written its pid', () => recorded() !== 0 && recorded() !== not, 20_000);
      return recorded();
    },
    processes: () => processesOf(state),
    workers: () => processesOf(state).filter(({ words }) => words.some((word) => word.endsWith('worker.js'))),
  };
}

export function table(version: number, change: Partial<RoutingTable>): RoutingTable {
  return {
    service: 'shop',
    version,
    listen: { host: '127.0.0.1', port: 0 },
    hold: false,
    preview: null,
    traffic: DEFAULT_TRAFFIC,
    routes: [],
    ...change,
  };
}
