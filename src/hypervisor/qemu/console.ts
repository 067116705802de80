import { existsSync, watch } from 'node:fs';
import { type FileHandle, mkdir, open, readdir, rename, rm, stat } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { StringDecoder } from 'node:string_decoder';
import type { RunDirectory } from './run-directory.ts';

/** How far back from its end a console is read, in bytes. */
const TAIL = 256 * 1024;

/** How many consoles of removed machines are kept. */
const KEPT = 100;

/** The last lines of a text file, at most TAIL bytes of them; null when it does not exist. */
export async function lastLines(path: string, lines: number): Promise<string[] | null> {
  const file = await openIfThere(path);
  if (file === null) return null;
  try {
    const text = (await readFrom(file, await startOfTail(file))).toString('utf8').replaceAll('\r', '');
    return text === '' || lines <= 0 ? [] : text.replace(/\n$/, '').split('\n').slice(-lines);
  } finally {
    await file.close();
  }
}

/** The last lines of a machine's console, then each new one when it is whole; ends with the run directory or `signal`. */
export async function* followLines(
  { path, console: log }: RunDirectory,
  lines: number,
  signal: AbortSignal,
): AsyncGenerator<string> {
  // Before the first look, so that nothing can be written unseen between the two.
  const news = newsIn(path, signal);
  let file: FileHandle | null = null;
  try {
    let position: number | null = null;
    let rest = '';
    let wanted = lines;
    const decoder = new StringDecoder('utf8');
    for (let more = true; more; more = await news.next()) {
      file ??= await openIfThere(log);
      if (file !== null) {
        position ??= await startOfTail(file);
        // Emptied meanwhile, for it was too long.
        if ((await file.stat()).size < position) position = 0;
        const bytes = await readFrom(file, position);
        position += bytes.length;
        const whole = (rest + decoder.write(bytes)).replaceAll('\r', '').split('\n');
        rest = whole.pop() ?? '';
        yield* wanted <= 0 ? [] : whole.slice(-wanted);
        wanted = Number.POSITIVE_INFINITY;
      }
      if (!existsSync(path)) break;
    }
    if (rest !== '' && !signal.aborted) yield rest;
  } finally {
    news.close();
    await file?.close();
  }
}

/** Moves the console of a machine that is about to be forgotten to where `keptLines` finds it. */
export async function keepConsole(directory: RunDirectory): Promise<void> {
  const kept = keptConsole(directory);
  await mkdir(dirname(kept), { recursive: true, mode: 0o700 });
  await rename(directory.console, kept).catch(ignoreMissing);
  await forgetOldest(dirname(kept));
}

/** The last lines of a machine that was removed; null when nothing is known of it any more. */
export async function keptLines(directory: RunDirectory, lines: number): Promise<string[] | null> {
  return lastLines(keptConsole(directory), lines);
}

function keptConsole({ path }: RunDirectory): string {
  return join(dirname(path), '.removed', `${basename(path)}.log`);
}

async function forgetOldest(folder: string): Promise<void> {
  const names = await readdir(folder);
  if (names.length <= KEPT) return;
  const aged = await Promise.all(
    names.map(async (name) => ({ name, at: (await stat(join(folder, name))).mtimeMs })),
  );
  for (const { name } of aged.sort((a, b) => b.at - a.at).slice(KEPT))
    await rm(join(folder, name), { force: true });
}

async function openIfThere(path: string): Promise<FileHandle | null> {
  return open(path, 'r').catch((error: NodeJS.ErrnoException) => ignoreMissing(error) ?? null);
}

async function startOfTail(file: FileHandle): Promise<number> {
  return Math.max(0, (await file.stat()).size - TAIL);
}

async function readFrom(file: FileHandle, position: number): Promise<Buffer> {
  const length = Math.max(0, (await file.stat()).size - position);
  const { buffer, bytesRead } = await file.read(Buffer.alloc(length), 0, length, position);
  return buffer.subarray(0, bytesRead);
}

interface News {
  /** Resolves with true when something changed since the last call, with false when `signal` was given. */
  next(): Promise<boolean>;
  close(): void;
}

function newsIn(folder: string, signal: AbortSignal): News {
  let fresh = false;
  let wake = () => {};
  const watcher = watch(folder, { persistent: true }, () => {
    fresh = true;
    wake();
  });
  watcher.on('error', () => wake());
  signal.addEventListener('abort', () => wake(), { once: true });
  return {
    async next() {
      if (!fresh && !signal.aborted)
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
      fresh = false;
      return !signal.aborted;
    },
    close: () => watcher.close(),
  };
}

function ignoreMissing(error: NodeJS.ErrnoException): void {
  if (error.code !== 'ENOENT') throw error;
}
