import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { table } from '../src/cli/render/table.ts';
import { embeddedDataPlane } from '../src/proxy/embedded/client.ts';
import { haproxyDataPlane } from '../src/proxy/haproxy/index.ts';
import type { DataPlane } from '../src/proxy/port.ts';
import type { Footprint } from '../test/support/soak/footprint.ts';
import { leaksOf, megabytes, type Soaked, soak, TOLERANCE } from '../test/support/soak/soak.ts';

const AMOUNTS = { connections: 200_000, websockets: 5_000, downloads: 5_000 };
const ENGINES: Record<string, (state: string) => DataPlane> = {
  embedded: (state) => embeddedDataPlane({ state }),
  haproxy: (state) => haproxyDataPlane({ state }),
};
const RESULTS = new URL('./results/', import.meta.url);

/** A day's worth of connections through each engine: what its processes hold must return to where it began. */
async function main(): Promise<number> {
  const results: Record<string, Soaked & { leaks: string[] }> = {};
  for (const [engine, open] of Object.entries(ENGINES)) {
    const soaked = await soakOne(open);
    const leaks = leaksOf(soaked);
    results[engine] = { ...soaked, leaks };
    process.stdout.write(`${printed(engine, soaked)}\n${leaks.map((leak) => `← ${leak}\n`).join('')}\n`);
  }
  await mkdir(RESULTS, { recursive: true });
  await writeFile(new URL('soak.json', RESULTS), `${JSON.stringify(results, null, 2)}\n`);
  return Object.values(results).every(({ leaks }) => leaks.length === 0) ? 0 : 1;
}

async function soakOne(open: (state: string) => DataPlane): Promise<Soaked> {
  const state = await mkdtemp(join(tmpdir(), 'ud-soak-'));
  const plane = open(state);
  try {
    await plane.ensure();
    return await soak(plane, state, AMOUNTS);
  } finally {
    await plane.stop();
    await rm(state, { recursive: true, force: true });
  }
}

function printed(engine: string, { steps, before, warm, after }: Soaked): string {
  const done = table(
    [engine, 'count', 'failed', 'seconds'],
    steps.map(({ step, count, failed, seconds }) => [step, count, failed, seconds.toFixed(1)]),
  );
  const row = (name: string, of: (footprint: Footprint) => number | string, allowed: string) => [
    name,
    of(before),
    of(warm),
    of(after),
    allowed,
  ];
  const held = table(
    ['held by its processes', 'at first', 'warmed up', 'afterwards', 'allowed'],
    [
      ...(['processes', 'sockets', 'files', 'handles', 'listeners'] as const).map((what) =>
        row(what, (footprint) => footprint[what], 'as at first'),
      ),
      ...(['heap', 'resident'] as const).map((what) =>
        row(
          `${what}, MB`,
          (footprint) => megabytes(footprint[what]),
          `${megabytes(TOLERANCE[what])} more than warmed up`,
        ),
      ),
    ],
  );
  return `${done}\n\n${held}\n`;
}

process.exitCode = await main();
