import { readFileSync } from 'node:fs';
import type { Workplace } from '../../test/support/cli/workplace.ts';
import { cpuOf, treeOf } from '../proxy/process-tree.ts';

/** Seconds of CPU that were taken so far, by whom. */
export interface Used {
  guests: number;
  controller: number;
  dataPlane: number;
}

/** Tells at any time how much CPU the processes of a workplace have taken. */
export async function meter(place: Workplace): Promise<() => Used> {
  const guests = Object.values(await place.guestPids());
  const controller = await place.controllerPid();
  const dataPlane = treeOf([await place.dataPlanePid()]);
  return () => ({
    guests: cpuOf(guests),
    controller: cpuOf([controller]),
    dataPlane: cpuOf(dataPlane),
  });
}

/** Milliseconds of CPU for each of so many swaps, between two readings. */
export function perSwap(before: Used, after: Used, swaps: number): Used {
  const each = (of: keyof Used) => Math.round(((after[of] - before[of]) * 1e4) / swaps) / 10;
  return { guests: each('guests'), controller: each('controller'), dataPlane: each('dataPlane') };
}

/** Mean memory of the guests, MB; what several share counts in shares. */
export async function memoryOf(place: Workplace): Promise<number> {
  const pids = Object.values(await place.guestPids());
  const kilobytes = pids.map((pid) =>
    Number(/^Pss: +(\d+) kB/m.exec(readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8'))?.[1]),
  );
  return Math.round(kilobytes.reduce((sum, each) => sum + each, 0) / 1024 / pids.length);
}
