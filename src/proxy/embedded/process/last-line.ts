import { readFile, stat } from 'node:fs/promises';

/** The last line of a log, of what was written after its first `from` bytes. */
export async function lastLine(file: string, from = 0): Promise<string | undefined> {
  const bytes = await readFile(file).catch(() => Buffer.alloc(0));
  return bytes.subarray(from).toString().trimEnd().split('\n').at(-1) || undefined;
}

/** Bytes; 0 for a file that is not there. */
export async function lengthOf(file: string): Promise<number> {
  return (await stat(file).catch(() => ({ size: 0 }))).size;
}
