import { readFile, rename, writeFile } from 'node:fs/promises';
import type { Clock } from '../domain/clock.ts';
import type { StatePaths } from './paths.ts';

/**
 * Time that nobody can set: it begins at the wall clock's and goes on by the monotonic one. Somebody who sets the wall
 * clock, by a day even, changes no deadline of what is under way.
 */
export interface SteadyClock extends Clock {
  /** milliseconds between the monotonic clock's zero, which is about the boot of the machine, and 1970 */
  readonly offset: number;
  /** Goes on as a clock with that offset did, on the same boot of this machine. */
  follow(offset: number): void;
}

/** @param wall epoch milliseconds @param monotonic milliseconds, the same clock for all processes of this boot */
export function steadyClock(wall: () => number, monotonic: () => number): SteadyClock {
  let offset = wall() - monotonic();
  return {
    now: () => Math.floor(offset + monotonic()),
    sleep: (ms) =>
      new Promise((resolve) => {
        setTimeout(resolve, ms);
      }),
    get offset() {
      return offset;
    },
    follow(earlier) {
      offset = earlier;
    },
  };
}

/** CLOCK_MONOTONIC is what Node's high resolution time is on Linux. */
export const systemClock: SteadyClock = steadyClock(
  () => Date.now(),
  () => Number(process.hrtime.bigint() / 1000n) / 1000,
);

interface Anchor {
  /** of the boot that the offset belongs to */
  boot: string;
  offset: number;
}

/**
 * Has the times of an open rollout go on where the controller before left them, whatever became of the wall clock in
 * between; with none open, or after a boot, time begins at the wall clock's again.
 */
export async function keepTime(
  { clock: file }: Pick<StatePaths, 'clock'>,
  clock: SteadyClock,
  isUnderWay: boolean,
): Promise<void> {
  const boot = (await readFile('/proc/sys/kernel/random/boot_id', 'utf8').catch(() => '')).trim();
  const anchor = isUnderWay ? await readAnchor(file) : null;
  if (anchor !== null && boot !== '' && anchor.boot === boot) clock.follow(anchor.offset);
  const now: Anchor = { boot, offset: clock.offset };
  await writeFile(`${file}.new`, JSON.stringify(now), { mode: 0o600 });
  await rename(`${file}.new`, file);
}

async function readAnchor(file: string): Promise<Anchor | null> {
  try {
    const anchor = JSON.parse(await readFile(file, 'utf8')) as Anchor;
    return Number.isFinite(anchor.offset) ? anchor : null;
  } catch {
    return null;
  }
}
