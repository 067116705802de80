import { execa } from 'execa';
import { z } from 'zod';
import { CONFINING, confined, confinedEnvironment } from '../../confinement.ts';
import { UnideployError } from '../../errors.ts';
import type { CopyOrder } from '../port.ts';
import type { OpenableDisk } from './data-images.ts';
import { dataToolLimits } from './limits.ts';
import { jobError } from './qmp/errors.ts';
import { needTools } from './tools.ts';

const RECORDS = z.object({
  'format-specific': z.object({
    data: z.object({
      bitmaps: z.array(z.object({ name: z.string(), flags: z.array(z.string()) })).default([]),
    }),
  }),
});

/** Forgets records of what has changed on a disk that nothing has open. */
export async function forgetRecords(
  disk: OpenableDisk,
  which: (name: string, isLost: boolean) => boolean,
): Promise<void> {
  const said = await run(disk, ['info', '--output=json', '-f', 'qcow2', disk.file]);
  const { bitmaps } = RECORDS.parse(JSON.parse(said))['format-specific'].data;
  // What QEMU that was killed has not written down is in use for ever.
  for (const { name, flags } of bitmaps)
    if (which(name, flags.includes('in-use')))
      await run(disk, ['bitmap', '--remove', '-f', 'qcow2', disk.file, name]);
}

/** From now on it is recorded what changes, by whoever writes to the disk. */
export async function addRecord(disk: OpenableDisk, name: string): Promise<void> {
  await run(disk, ['bitmap', '--add', '-f', 'qcow2', disk.file, name]);
}

/** Milliseconds for any copy, and bytes a millisecond that a slow disk writes. */
const LEAST = 600_000;
const SLOW = 5_000;

/** Copies a disk that nothing has open into a file of no bytes beside it. Returns how many bytes a guest sees of it. */
export async function copyDetached(
  disk: OpenableDisk,
  to: string,
  { rate, report, signal }: Pick<CopyOrder, 'rate' | 'report' | 'signal'>,
): Promise<number> {
  const { size } = disk;
  const slow = rate > 0 ? ['-r', String(rate)] : [];
  const words = ['convert', '-p', ...slow, '-f', 'qcow2', '-O', 'qcow2', '-o', 'compat=1.1', disk.file, to];
  const hear = (text: string) => {
    const percent = Number(/\((\d+(?:\.\d+)?)\/100%\)/.exec(text)?.[1] ?? Number.NaN);
    if (Number.isFinite(percent)) report({ done: Math.floor((size * percent) / 100), total: size });
  };
  const within = LEAST + size / SLOW + (rate > 0 ? (size / rate) * 1000 : 0);
  await run(disk, words, { within, hear, signal });
  return size;
}

interface Manner {
  within: number;
  hear?: (text: string) => void;
  signal?: AbortSignal;
}

async function run(
  disk: OpenableDisk,
  words: string[],
  manner: Manner = { within: 30_000 },
): Promise<string> {
  const { program, folder, user, size } = disk;
  await needTools(program, ...CONFINING);
  const limits = { ...dataToolLimits(size), cpuSeconds: Math.ceil(manner.within / 1000) };
  const [first = '', ...rest] = confined([program, ...words], { user, limits });
  const running = execa(first, rest, {
    ...{ cwd: folder, env: confinedEnvironment(), extendEnv: false, reject: false },
    ...{ timeout: manner.within, killSignal: 'SIGKILL' as const },
    ...(manner.signal && { cancelSignal: manner.signal }),
  });
  running.stdout.on('data', (chunk) => manner.hear?.(String(chunk)));
  const { failed, stdout, stderr, timedOut, isCanceled } = await running;
  if (isCanceled)
    throw new UnideployError('UD_ABORTED', 'the copy was cancelled; nothing of it stays', 'begin it again');
  if (!failed) return stdout;
  throw jobError(timedOut ? 'qemu-img did not end in time' : stderr.trim().replaceAll('\n', ' '));
}
