import { mkdir, writeFile } from 'node:fs/promises';
import { cpus } from 'node:os';
import { failedOf, startLoad } from '../test/support/http/load.ts';
import { median } from './median.ts';
import { openWorkplace, type Project } from './workplace.ts';

/** Measured in one run, in turn, so that a slow machine slows both alike. */
const SWAPS = 6;
const ROLLS = 2;
const RESULTS = new URL('./results/', import.meta.url);

/** What issue and README promise of a volume swap over four warm guests. */
const SWAP_UNDER_SECONDS = 3;
const TIMES_CHEAPER = 10;

/** Compares a volume swap with a rolling rollout of the same four guests, under load. */
async function main(): Promise<number> {
  const workplace = await openWorkplace((line) => process.stderr.write(`  ${line}\n`));
  try {
    const site = await workplace.project('html-site');
    await site.unideploy(['up']);
    const load = startLoad({ url: await site.url(), connections: 8, rate: 50 });
    const swaps: number[] = [];
    const rolls: number[] = [];
    for (let round = 0; round < ROLLS; round++) {
      for (let n = 0; n < SWAPS / ROLLS; n++) swaps.push(await swap(site, `${round}.${n}`));
      rolls.push(await roll(site, round));
    }
    const ledger = await load.stop();
    const figures = {
      measured: new Date().toISOString(),
      machine: { cpus: cpus().length, model: cpus()[0]?.model ?? 'unknown', node: process.version },
      guests: 4,
      swapSeconds: spread(swaps),
      rollingSeconds: spread(rolls),
      ratio: Math.round(median(rolls) / median(swaps)),
      requests: ledger.sent,
      failed: failedOf(ledger),
      latencyMs: ledger.latency,
    };
    await mkdir(RESULTS, { recursive: true });
    await writeFile(new URL('deploy.json', RESULTS), `${JSON.stringify(figures, null, 2)}\n`);
    process.stdout.write(`${JSON.stringify(figures, null, 2)}\n`);
    const kept =
      figures.swapSeconds.max < SWAP_UNDER_SECONDS && figures.ratio >= TIMES_CHEAPER && figures.failed === 0;
    return kept ? 0 : 1;
  } finally {
    await workplace.close();
  }
}

/** Seconds of wall time, from typing the command to its exit. */
async function swap(site: Project, mark: string): Promise<number> {
  await site.edit('public/index.html', (text) => text.replace('</body>', `<p>${mark}</p></body>`));
  return await rollout(site);
}

async function roll(site: Project, round: number): Promise<number> {
  await site.edit('unideploy.yaml', (text) =>
    text.replace(/guest:\n( {2}cmdline.*\n)?/, `guest:\n  cmdline: bench.round=${round}\n`),
  );
  return await rollout(site);
}

async function rollout(site: Project): Promise<number> {
  const { exitCode, result, wall } = await site.result(['rollout']);
  if (exitCode !== 0) throw new Error(`the rollout ended ${result}`);
  return wall / 1000;
}

function spread(values: number[]): { min: number; median: number; max: number } {
  const round = (value: number) => Math.round(value * 1000) / 1000;
  return { min: round(Math.min(...values)), median: round(median(values)), max: round(Math.max(...values)) };
}

process.exitCode = await main();
