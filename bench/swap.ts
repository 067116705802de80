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
/** How often, there and with copies in turn. */
const STARTS = 3;
/** Rollouts that count, each with a swap there and back by the bare script beside it. */
const WARM = 4;
/** Rollbacks, each of a rollout. */
const BACK = 3;
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
  const cold: Started[] = [];
  const fewCopies: Started[] = [];
  for (let n = 0; n < STARTS; n++) {
    cold.push(await startedOnce('cold'));
    fewCopies.push(await startedOnce('copies'));
  }
  const { place, started } = await startService(GUESTS, 'copies');
  try {
    const figures = { ...about({ cold, fewCopies, copies: started }), ...(await measure(place)) };
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

async function startedOnce(how: 'cold' | 'copies'): Promise<Started> {
  const { place, started } = await startService(COLD, how);
  await place.close();
  return started;
}

/** A copy and a boot are compared in pools of the same size: of a hundred the first ones serve, and are asked, while the last ones start. */
function about(starts: { cold: Started[]; fewCopies: Started[]; copies: Started }) {
  const { cold, fewCopies } = starts;
  const middle = (all: Started[], of: 'seconds' | 'cpuEach') => median(all.map((each) => each[of]));
  return {
    measured: new Date().toISOString(),
    machine: { cpus: cpus().length, model: cpus()[0]?.model ?? 'unknown', node: process.version },
    ...starts,
    coldExtrapolated: { guests: GUESTS, seconds: Math.round((middle(cold, 'seconds') * GUESTS) / COLD) },
    copyCheaper: round(middle(cold, 'cpuEach') / middle(fewCopies, 'cpuEach'), 10),
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
  let old = await volumeOf(place);
  let serves = await sourceDigests(place);
  let before = serves;
  const rolled = async (n: number) => {
    before = serves;
    old = await volumeOf(place);
    const swap = await rollout(place, n, used);
    serves = await sourceDigests(place);
    return swap;
  };
  const rolledBack = async () => {
    old = await volumeOf(place);
    const swap = await timed(place, ['rollback'], used);
    serves = before;
    return swap;
  };
  /** There and back, with as many at once as each figure says. */
  const bareSwaps = async () => {
    const script = await BareScript.open(place.state);
    const fresh = script.volume;
    const swaps: [parallel: number, Swap][] = [];
    for (const [at, parallel] of BARE_PARALLEL.entries())
      swaps.push([parallel, await bareSwap(script, at % 2 === 0 ? old : fresh, parallel, used)]);
    script.close();
    return swaps;
  };
  // Emulation translates what a guest does when it does it for the first time, and the second time there is a rest of that.
  const first = await rolled(1);
  const second = await rolled(2);
  await bareSwaps();
  const warm: Swap[] = [];
  const bare = new Map<number, Swap[]>(BARE_PARALLEL.map((parallel) => [parallel, []]));
  for (let n = 0; n < WARM; n++) {
    // In turn: guests get quicker with every swap, and who comes second gains by it.
    const isBareFirst = n % 2 === 1;
    const swaps = isBareFirst ? await bareSwaps() : [];
    warm.push(await rolled(n + 3));
    for (const [parallel, swap] of isBareFirst ? swaps : await bareSwaps()) bare.get(parallel)?.push(swap);
  }
  const back = [await rolledBack()];
  for (let n = 1; n < BACK; n++) {
    await rolled(WARM + 2 + n);
    back.push(await rolledBack());
  }
  const wrong = await differing(place, serves);
  const ledger = await load.stop();
  const bareSeconds = [...bare.values()].map((swaps) => median(swaps.map(({ seconds }) => seconds)));
  const seconds = median(warm.map((swap) => swap.seconds));
  return {
    guests: GUESTS,
    first,
    second,
    warm,
    bare: Object.fromEntries(bare),
    seconds,
    slowestGuest: Math.max(...warm.map(({ slowestGuest }) => slowestGuest)),
    ofBare: round(seconds / Math.min(...bareSeconds), 100),
    rollbacks: back,
    rollbackOfSwap: round(median(back.map((swap) => swap.seconds)) / seconds, 100),
    rollbackDiffers: wrong,
    memoryEach: await memoryOf(place),
    requests: ledger.sent,
    failed: failedOf(ledger),
    failures: ledger.failures,
    latencyMs: ledger.latency,
  };
}

type Figures = ReturnType<typeof about> & Awaited<ReturnType<typeof measure>>;

function judge({ failed, ofBare, copyCheaper, rollbackOfSwap, rollbackDiffers }: Figures) {
  return {
    'failed requests: 0': { value: failed, kept: failed === 0 },
    [`of the bare script: at most ${OF_BARE_AT_MOST}`]: { value: ofBare, kept: ofBare <= OF_BARE_AT_MOST },
    [`a copy cheaper than a boot, in CPU: at least ${COPY_CHEAPER_AT_LEAST}`]: {
      value: copyCheaper,
      kept: copyCheaper >= COPY_CHEAPER_AT_LEAST,
    },
    'a rollback no slower than a swap: at most 1, and a tenth by which equal ones differ': {
      value: rollbackOfSwap,
      kept: rollbackOfSwap <= 1.1,
    },
    'files that differ after the rollbacks: 0': {
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
