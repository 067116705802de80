import { randomBytes } from 'node:crypto';
import { mkdir, writeFile } from 'node:fs/promises';
import { cpus } from 'node:os';
import { join } from 'node:path';
import type { Workplace } from '../test/support/cli/workplace.ts';
import { failedOf, startLoad } from '../test/support/http/load.ts';
import { median } from './median.ts';
import { BareScript } from './swap/bare.ts';
import { differing, sourceDigests } from './swap/contents.ts';
import { type Started, startService } from './swap/start.ts';
import { memoryOf, meter, perSwap, type Used } from './swap/usage.ts';

/** `npm run bench:swap -- 30` has thirty. */
const GUESTS = Number(process.argv[2] ?? 100);
/** Guests that are booted, for comparison: a hundred of them would take five minutes, and say the same. */
const COLD = 4;
/** Rollouts after the first, each with a swap there and back by the bare script beside it. */
const WARM = 3;
/** How many guests the bare script swaps at once; the quickest counts. */
const BARE_PARALLEL = [3, 4];
/** Requests a second, and the connections that they come over. */
const RATE = 50;
const CONNECTIONS = 16;
const RESULTS = new URL('./results/', import.meta.url);

/** What is promised of a swap of a hundred. */
const OF_BARE_AT_MOST = 1.2;
const COPY_CHEAPER_AT_LEAST = 15;

interface Swap {
  /** of the rollout, from its first entry in the journal to its last; of the bare script, all of it */
  seconds: number;
  /** from typing the command to its exit */
  wall: number;
  slowestGuest: number;
  cpuEach: Used;
}

/** Swaps the code of a hundred guests that serve, and compares that with the least that could do it. */
async function main(): Promise<number> {
  const cold = await startService(COLD, 'cold');
  await cold.place.close();
  const few = await startService(COLD, 'copies');
  await few.place.close();
  const { place, started } = await startService(GUESTS, 'copies');
  try {
    const starts = { cold: cold.started, fewCopies: few.started, copies: started };
    const figures = { ...about(starts), ...(await measure(place)) };
    const promises = judge(figures);
    const text = `${JSON.stringify({ ...figures, promises }, null, 2)}\n`;
    await mkdir(RESULTS, { recursive: true });
    await writeFile(new URL('swap.json', RESULTS), text);
    process.stdout.write(text);
    return Object.values(promises).every(({ kept }) => kept) ? 0 : 1;
  } finally {
    await place.close();
  }
}

/** A copy and a boot are compared in pools of the same size: of a hundred the first ones serve, and are asked, while the last ones start. */
function about(starts: { cold: Started; fewCopies: Started; copies: Started }) {
  const { cold, fewCopies } = starts;
  return {
    measured: new Date().toISOString(),
    machine: { cpus: cpus().length, model: cpus()[0]?.model ?? 'unknown', node: process.version },
    ...starts,
    coldExtrapolated: { guests: GUESTS, seconds: Math.round((cold.seconds * GUESTS) / COLD) },
    copyCheaper: round(cold.cpuEach / fewCopies.cpuEach, 10),
  };
}

async function measure(place: Workplace) {
  const used = await meter(place);
  const { listen } = await place.status();
  const load = startLoad({
    url: `http://${listen?.host}:${listen?.port}/`,
    connections: CONNECTIONS,
    rate: RATE,
  });
  const first = await rollout(place, 1, used);
  const warm: Swap[] = [];
  const bare = new Map<number, Swap[]>(BARE_PARALLEL.map((parallel) => [parallel, []]));
  let before: Record<string, string> = {};
  for (let n = 0; n < WARM; n++) {
    before = await sourceDigests(place);
    const old = await volumeOf(place);
    warm.push(await rollout(place, n + 2, used));
    const script = await BareScript.open(place.state);
    const fresh = script.volume;
    for (const [at, parallel] of BARE_PARALLEL.entries())
      bare.get(parallel)?.push(await bareSwap(script, at % 2 === 0 ? old : fresh, parallel, used));
    script.close();
  }
  const back = await timed(place, ['rollback'], used);
  const wrong = await differing(place, before);
  const ledger = await load.stop();
  const bareSeconds = [...bare.values()].map((swaps) => median(swaps.map(({ seconds }) => seconds)));
  const seconds = median(warm.map((swap) => swap.seconds));
  return {
    guests: GUESTS,
    first,
    warm,
    bare: Object.fromEntries(bare),
    seconds,
    slowestGuest: Math.max(...warm.map(({ slowestGuest }) => slowestGuest)),
    ofBare: round(seconds / Math.min(...bareSeconds), 100),
    rollback: back,
    rollbackDiffers: wrong,
    memoryEach: await memoryOf(place),
    requests: ledger.sent,
    failed: failedOf(ledger),
    failures: ledger.failures,
    latencyMs: ledger.latency,
  };
}

type Figures = ReturnType<typeof about> & Awaited<ReturnType<typeof measure>>;

function judge({ failed, ofBare, copyCheaper, rollback, warm, rollbackDiffers }: Figures) {
  const slowest = Math.max(...warm.map(({ seconds }) => seconds));
  return {
    'failed requests: 0': { value: failed, kept: failed === 0 },
    [`of the bare script: at most ${OF_BARE_AT_MOST}`]: { value: ofBare, kept: ofBare <= OF_BARE_AT_MOST },
    [`a copy cheaper than a boot, in CPU: at least ${COPY_CHEAPER_AT_LEAST}`]: {
      value: copyCheaper,
      kept: copyCheaper >= COPY_CHEAPER_AT_LEAST,
    },
    'rollback no slower than the slowest swap, in seconds': {
      value: rollback.seconds,
      kept: rollback.seconds <= slowest,
    },
    'files that differ after the rollback: 0': {
      value: rollbackDiffers.length,
      kept: rollbackDiffers.length === 0,
    },
  };
}

async function rollout(place: Workplace, n: number, used: () => Used): Promise<Swap> {
  await place.publish(`<h1>version ${n}</h1>\n`);
  // Incompressible, and other bytes each time: what a guest has kept of the one before serves nothing.
  await writeFile(join(place.project, 'public', 'data.bin'), randomBytes(100_000));
  return await timed(place, ['rollout'], used);
}

async function timed(place: Workplace, command: string[], used: () => Used): Promise<Swap> {
  const before = used();
  const began = performance.now();
  const { exitCode, lines, stderr, last } = await place.cli([...command, '--json']);
  const wall = performance.now() - began;
  if (exitCode !== 0) throw new Error(`${command} ended with ${exitCode}: ${JSON.stringify(last)} ${stderr}`);
  const own = lines.flatMap((line) => {
    const { event, action, ms } = line as { event?: string; action?: { kind: string }; ms?: number };
    return event === 'action-finished' && action?.kind === 'swapVolume' ? [ms ?? 0] : [];
  });
  if (own.length !== GUESTS) throw new Error(`${own.length} guests were swapped, not ${GUESTS}`);
  const { ms } = last as { ms?: number };
  return {
    seconds: round((ms ?? 0) / 1000, 100),
    wall: round(wall / 1000, 100),
    slowestGuest: round(Math.max(...own) / 1000, 100),
    cpuEach: perSwap(before, used(), GUESTS),
  };
}

async function bareSwap(
  script: BareScript,
  volume: BareScript['volume'],
  parallel: number,
  used: () => Used,
): Promise<Swap> {
  const before = used();
  const { ms, slowest } = await script.swap(volume, parallel);
  const seconds = round(ms / 1000, 100);
  return {
    seconds,
    wall: seconds,
    slowestGuest: round(slowest / 1000, 100),
    cpuEach: perSwap(before, used(), GUESTS),
  };
}

async function volumeOf({ state }: Workplace): Promise<BareScript['volume']> {
  const script = await BareScript.open(state);
  script.close();
  return script.volume;
}

function round(value: number, steps: number): number {
  return Math.round(value * steps) / steps;
}

process.exitCode = await main();
