import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { basename } from 'node:path';
import { processesOf } from '../cli/processes.ts';
import { inspect } from './inspected.ts';

/** What the processes of a data plane hold, all together. */
export interface Footprint {
  processes: number;
  sockets: number;
  /** open descriptors of other kinds */
  files: number;
  /** resident memory, in bytes */
  resident: number;
  /** of Node processes: bytes of living objects, what keeps their event loops alive, listeners to process-wide events */
  heap: number;
  handles: number;
  listeners: number;
}

/** Of all processes that were started for a state directory. Node processes collect their garbage first. */
export async function footprintOf(state: string): Promise<Footprint> {
  const pids = processesOf(state).map(({ pid }) => pid);
  // first: being looked into takes sockets of its own
  const open = descriptorsOf(pids);
  const sum: Footprint = {
    processes: pids.length,
    sockets: 0,
    files: 0,
    resident: 0,
    heap: 0,
    handles: 0,
    listeners: 0,
  };
  for (const pid of pids) {
    if (basename(readlinkSync(`/proc/${pid}/exe`)) === basename(process.execPath)) {
      const { heap, handles, listeners } = await inspect(pid);
      sum.heap += heap;
      sum.handles += Object.values(handles).reduce((all, count) => all + count, 0);
      sum.listeners += listeners;
    }
    sum.resident += residentMemory(pid);
  }
  sum.sockets = open.filter(isSocket).length;
  sum.files = open.length - sum.sockets;
  return sum;
}

/** Resident memory of all processes of a state directory, in bytes. */
export function residentOf(state: string): number {
  return processesOf(state).reduce((sum, { pid }) => sum + residentMemory(pid), 0);
}

/** Sockets that the processes of a state directory have open. */
export function socketsOf(state: string): number {
  return descriptorsOf(processesOf(state).map(({ pid }) => pid)).filter(isSocket).length;
}

function descriptorsOf(pids: number[]): string[] {
  return pids.flatMap((pid) => readdirSync(`/proc/${pid}/fd`).map((fd) => targetOf(`/proc/${pid}/fd/${fd}`)));
}

/** Empty for one that has been closed meanwhile. */
function targetOf(descriptor: string): string {
  try {
    return readlinkSync(descriptor);
  } catch {
    return '';
  }
}

function isSocket(target: string): boolean {
  return target.startsWith('socket:');
}

function residentMemory(pid: number): number {
  const kilobytes = /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1];
  return Number(kilobytes) * 1024;
}
