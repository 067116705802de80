import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';

/** The processes, and all that descend from them. */
export function treeOf(roots: number[]): number[] {
  const parents = new Map(
    readdirSync('/proc')
      .filter((name) => /^\d+$/.test(name))
      .map((name) => [Number(name), Number(statOf(Number(name))?.[1])] as const),
  );
  const tree = new Set(roots);
  for (let before = -1; before !== tree.size; ) {
    before = tree.size;
    for (const [pid, parent] of parents) if (tree.has(parent)) tree.add(pid);
  }
  return [...tree];
}

/** Those without a child among them: the workers, where there are any. */
export function leavesOf(pids: number[]): number[] {
  const parents = new Set(pids.map((pid) => Number(statOf(pid)?.[1])));
  return pids.filter((pid) => !parents.has(pid));
}

/** Seconds of CPU, user and system, that the processes have taken: their threads, and the children they have buried. */
export function cpuOf(pids: number[]): number {
  let ticks = 0;
  for (const pid of pids) {
    const stat = statOf(pid);
    if (!stat) throw new Error(`process ${pid} has ended while it was measured`);
    // utime, stime, cutime, cstime: 14 to 17 of proc(5)
    for (const field of stat.slice(11, 15)) ticks += Number(field);
  }
  return ticks / TICKS;
}

/** Keeps the processes, with all their threads, to one CPU. */
export function pin(pids: number[], cpu: number): void {
  for (const pid of pids) execFileSync('taskset', ['-a', '-c', '-p', String(cpu), String(pid)]);
}

/** The fields of /proc/PID/stat from the state, the third of proc(5), on. */
function statOf(pid: number): string[] | undefined {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, 'latin1');
    return text.slice(text.lastIndexOf(')') + 2).split(' ');
  } catch {
    return undefined;
  }
}

const TICKS = Number(execFileSync('getconf', ['CLK_TCK'], { encoding: 'utf8' }));
