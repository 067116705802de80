import { readdirSync, readFileSync } from 'node:fs';

/** A process and the words it was started with. */
export interface Process {
  pid: number;
  words: string[];
}

/** Every living process that was started with this folder, or something in it, among its words. */
export function processesOf(folder: string): Process[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map((name) => ({ pid: Number(name), words: wordsOf(name) }))
    .filter(({ words }) => words.some((word) => word.includes(folder)));
}

export function isAlive(pid: number): boolean {
  return wordsOf(`${pid}`).length > 0;
}

/** Ends a process; one that has ended already is as good. */
export function end(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}

/** Empty for a process that has gone, or is a zombie. */
function wordsOf(pid: string): string[] {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0').filter(Boolean);
  } catch {
    return [];
  }
}
