import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { cpus, tmpdir } from 'node:os';
import { join } from 'node:path';
import { median } from './median.ts';
import { type Backend, startBackend } from './proxy/backend.ts';
import { type Candidate, pinned, startEmbedded, startHaproxy, startRival } from './proxy/candidates.ts';
import { CASES, costOf } from './proxy/cost.ts';
import { type Figures, judge, printed } from './proxy/report.ts';
import { measureThroughput } from './proxy/throughput.ts';

const QUICK = process.argv.includes('--quick');
const ROUNDS = QUICK ? 1 : 3;
const CASES_NOW = QUICK ? CASES.filter(({ connections }) => connections === 32) : CASES;
const THROUGHPUT_SECONDS = QUICK ? 2 : 3;
const RESULTS = new URL('./results/', import.meta.url);

/** The proxy has a CPU of its own; client and backend share another. */
const PROXY_CPU = 0;
const LOAD_CPU = String(Math.min(1, cpus().length - 1));

/** Measures the data plane against the proxies that people run, in one run and in turn. */
async function main(): Promise<number> {
  const folder = await mkdtemp(join(tmpdir(), 'ud-bench-'));
  const backend = await startBackend(folder, LOAD_CPU);
  const candidates: Candidate[] = [];
  try {
    for (const start of starts(folder, backend.port)) candidates.push(await pinned(start(), PROXY_CPU));
    const cost = await costs(candidates, backend);
    for (const candidate of candidates.splice(0)) await candidate.end();
    const figures: Figures = {
      measured: new Date().toISOString(),
      machine: { cpus: cpus().length, model: cpus()[0]?.model ?? 'unknown', node: process.version },
      rounds: ROUNDS,
      cost,
      throughput: await measureThroughput(folder, ROUNDS, THROUGHPUT_SECONDS),
    };
    const promises = judge(figures);
    await mkdir(RESULTS, { recursive: true });
    await writeFile(new URL('proxy.json', RESULTS), `${JSON.stringify({ ...figures, promises }, null, 2)}\n`);
    process.stdout.write(printed(figures, promises));
    return promises.every(({ kept }) => kept) ? 0 : 1;
  } finally {
    for (const candidate of candidates) await candidate.end();
    await backend.end();
    await rm(folder, { recursive: true, force: true });
  }
}

function starts(folder: string, backend: number): (() => Promise<Candidate>)[] {
  return [
    () => startEmbedded(folder, backend, 1),
    () => startRival('http-proxy 1.18.1', backend),
    () => startRival('httpxy 0.5.6', backend),
    () => startRival('node:http', backend),
    () => startHaproxy(folder, backend, PROXY_CPU),
    () => startRival('net splice', backend),
  ];
}

/** Medians over the rounds; in each round the next candidate begins. */
async function costs(candidates: Candidate[], backend: Backend): Promise<Figures['cost']> {
  const measured = candidates.map((candidate) => ({
    candidate,
    cases: CASES_NOW.map((each) => ({ ...each, runs: [] as number[] })),
  }));
  // as long as it takes Node to compile what runs often
  for (const each of CASES.filter(({ connections }) => connections === 32))
    for (const candidate of candidates) await costOf(candidate, backend, each, LOAD_CPU);
  for (let round = 0; round < ROUNDS; round++) {
    process.stderr.write(`round ${round + 1} of ${ROUNDS}\n`);
    for (const n of CASES_NOW.keys())
      for (const { candidate, cases } of [...measured.slice(round), ...measured.slice(0, round)]) {
        const each = cases[n];
        each?.runs.push(await costOf(candidate, backend, each, LOAD_CPU));
      }
  }
  return measured.map(({ candidate: { name }, cases }) => ({
    name,
    cases: cases.map(({ runs, ...rest }) => ({ ...rest, runs, micros: median(runs) })),
  }));
}

process.exitCode = await main();
