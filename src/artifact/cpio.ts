import { open } from 'node:fs/promises';
import { UnideployError } from '../errors.ts';

/** One thing in an initrd. */
export interface CpioEntry {
  path: string;
  /** `drwxr-xr-x`, without the kind for what is neither folder, file nor link */
  mode: string;
  user: number;
  group: number;
  size: number;
}

const HEAD = 110;
/** A name is not longer; what says so is no archive. */
const LONGEST_NAME = 4096;

/**
 * What an uncompressed cpio archive ("newc", as the kernel reads it) holds, in its order. Of several archives in one file
 * the first is read.
 * @throws UD_BUILD_FAILED when it is none
 */
export async function listCpio(path: string): Promise<CpioEntry[]> {
  const file = await open(path);
  try {
    const entries: CpioEntry[] = [];
    for (let at = 0; ; ) {
      const { buffer, bytesRead } = await file.read(Buffer.alloc(HEAD), 0, HEAD, at);
      const text = buffer.toString('latin1');
      if (bytesRead < HEAD || !/^07070[12][0-9a-fA-F]{104}$/.test(text)) throw broken(path, at);
      const field = (n: number) => Number.parseInt(text.slice(6 + n * 8, 14 + n * 8), 16);
      const [mode, user, group, size, nameSize] = [field(1), field(2), field(3), field(6), field(11)];
      if (nameSize > LONGEST_NAME) throw broken(path, at);
      const name = Buffer.alloc(nameSize);
      await file.read(name, 0, nameSize, at + HEAD);
      const named = name.toString('utf8').replace(/\0.*$/s, '');
      if (named === 'TRAILER!!!') return entries;
      entries.push({ path: named.replace(/^\.\/(?=.)/, ''), mode: words(mode), user, group, size });
      at = padded(padded(at + HEAD + nameSize) + size);
    }
  } finally {
    await file.close();
  }
}

function padded(at: number): number {
  return Math.ceil(at / 4) * 4;
}

function words(mode: number): string {
  const kind = { 4: 'd', 8: '-', 10: 'l' }[mode >> 12] ?? '?';
  return kind + [...'rwxrwxrwx'].map((bit, i) => ((mode >> (8 - i)) & 1 ? bit : '-')).join('');
}

function broken(path: string, at: number): UnideployError {
  return new UnideployError(
    'UD_BUILD_FAILED',
    `${path} is no cpio archive at byte ${at}`,
    'make it with: cpio -o -H newc',
  );
}
