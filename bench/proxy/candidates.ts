import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { DEFAULT_TRAFFIC } from '../../src/domain/traffic.ts';
import { embeddedDataPlane } from '../../src/proxy/embedded/client.ts';
import { haproxyDataPlane } from '../../src/proxy/haproxy/index.ts';
import type { DataPlane } from '../../src/proxy/port.ts';
import { processesOf } from '../../test/support/cli/processes.ts';
import { pin, treeOf } from './process-tree.ts';
import { startPrinting } from './started.ts';

/** A proxy in front of the backend, ready to be measured. */
export interface Candidate {
  name: string;
  port: number;
  /** its process tree */
  pids: number[];
  end(): Promise<void>;
}

/** The engine of this project, by the way that the controller starts it. */
export async function startEmbedded(folder: string, backend: number, workers: number): Promise<Candidate> {
  const state = join(folder, `embedded-${workers}`);
  return await front('embedded', state, embeddedDataPlane({ state, ...{ workers } }), backend);
}

/** HAProxy as this project configures it: it makes one thread for each CPU that it may run on. */
export async function startHaproxy(folder: string, backend: number, cpu: number): Promise<Candidate> {
  const state = join(folder, 'haproxy');
  await mkdir(state);
  const program = join(state, 'pinned-haproxy');
  await writeFile(program, `#!/bin/sh\nexec taskset -c ${cpu} haproxy "$@"\n`, { mode: 0o755 });
  return await front('HAProxy', state, haproxyDataPlane({ state, program }), backend);
}

/** One of `rival.ts`. */
export async function startRival(name: string, backend: number): Promise<Candidate> {
  const started = await startPrinting(process.execPath, ['--import', 'tsx', RIVAL, name, String(backend)]);
  return { name, port: started.port, pids: [started.pid], end: started.end };
}

/** The same CPU for every candidate: they differ in nothing but what they do on it. */
export async function pinned(starting: Promise<Candidate>, cpu: number): Promise<Candidate> {
  const candidate = await starting;
  pin(candidate.pids, cpu);
  return candidate;
}

async function front(name: string, state: string, plane: DataPlane, backend: number): Promise<Candidate> {
  await plane.ensure();
  const { listen } = await plane.apply({
    service: 'bench',
    version: 1,
    listen: { host: '127.0.0.1', port: 0 },
    hold: false,
    preview: null,
    traffic: DEFAULT_TRAFFIC,
    routes: [{ instance: 'i', revision: 1, host: '127.0.0.1', port: backend, weight: 100 }],
  });
  return {
    name,
    port: listen.port,
    pids: treeOf(processesOf(state).map(({ pid }) => pid)),
    end: () => plane.stop(),
  };
}

const RIVAL = fileURLToPath(new URL('rival.ts', import.meta.url));
