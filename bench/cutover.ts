import { mkdir, writeFile } from 'node:fs/promises';
import { type Cutover, cutThereAndBack } from '../test/support/cli/cutover.ts';
import { openWorkplace } from '../test/support/cli/workplace.ts';
import { failedOf } from '../test/support/http/load.ts';

const ROUNDS = 3;
/** ms from the engine's decision until the last request that the revision before got */
const PROMISED = 100;
const RESULTS = new URL('./results/', import.meta.url);

/** Measures how quickly all traffic of a blue-green pool moves, there and back, under 64 connections. */
async function main(): Promise<number> {
  const there: Cutover[] = [];
  const back: Cutover[] = [];
  let requests = 0;
  let failed = 0;
  for (let round = 0; round < ROUNDS; round++) {
    const place = await openWorkplace();
    try {
      const cut = await cutThereAndBack(place);
      there.push(cut.there);
      back.push(cut.back);
      requests += cut.ledger.sent;
      failed += failedOf(cut.ledger);
    } finally {
      await place.close();
    }
  }
  const figures = { measured: new Date().toISOString(), connections: 64, requests, failed, there, back };
  await mkdir(RESULTS, { recursive: true });
  await writeFile(new URL('cutover.json', RESULTS), `${JSON.stringify(figures, null, 2)}\n`);
  process.stdout.write(`${JSON.stringify(figures, null, 2)}\n`);
  const slowest = Math.max(...[...there, ...back].map(({ decided }) => decided));
  return failed === 0 && slowest <= PROMISED ? 0 : 1;
}

process.exitCode = await main();
