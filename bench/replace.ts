import { mkdir, writeFile } from 'node:fs/promises';
import { openWorkplace, type Workplace } from '../test/support/cli/workplace.ts';
import { failedOf, type Ledger, startLoad } from '../test/support/http/load.ts';
import { median } from './median.ts';

const SWAPS = 50;
const RATE = 40;
const CONNECTIONS = 8;
/** Milliseconds of load without swaps, to compare with. */
const CALM = 10_000;
const RESULTS = new URL('./results/', import.meta.url);

/** One guest, which holds one volume at a time: swapped again and again while new requests wait in the data plane. */
async function main(): Promise<number> {
  const place = await openWorkplace();
  try {
    await place.configure({ replicas: 1, guest: { cmdline: 'ud.mount=single', swap: 'replace' } });
    await run(place, ['up']);
    const calm = await loaded(place, () => new Promise((resolve) => setTimeout(resolve, CALM)));
    const seconds: number[] = [];
    const swapping = await loaded(place, async () => {
      for (let n = 1; n <= SWAPS; n++) {
        await place.publish(`<h1>swap ${n}</h1>\n`);
        seconds.push((await run(place, ['rollout'])) / 1000);
      }
    });
    const figures = {
      measured: new Date().toISOString(),
      swaps: SWAPS,
      rolloutSeconds: { median: median(seconds), max: Math.max(...seconds) },
      requests: swapping.sent,
      failed: failedOf(swapping),
      failures: swapping.failures,
      latencyMs: { calm: calm.latency, swapping: swapping.latency },
      addedAtP99: Math.round(swapping.latency.p99 - calm.latency.p99),
    };
    const text = `${JSON.stringify(figures, null, 2)}\n`;
    await mkdir(RESULTS, { recursive: true });
    await writeFile(new URL('replace.json', RESULTS), text);
    process.stdout.write(text);
    return figures.failed === 0 ? 0 : 1;
  } finally {
    await place.close();
  }
}

async function loaded(place: Workplace, act: () => Promise<unknown>): Promise<Ledger> {
  const { listen } = await place.status();
  const load = startLoad({
    url: `http://${listen?.host}:${listen?.port}/`,
    connections: CONNECTIONS,
    rate: RATE,
  });
  try {
    await act();
  } finally {
    await load.stop();
  }
  return load.ledger;
}

/** Milliseconds of the rollout. */
async function run(place: Workplace, args: string[]): Promise<number> {
  const { exitCode, last, stderr } = await place.cli([...args, '--json']);
  if (exitCode !== 0) throw new Error(`${args} ended with ${exitCode}: ${JSON.stringify(last)} ${stderr}`);
  return (last as { ms?: number }).ms ?? 0;
}

process.exitCode = await main();
