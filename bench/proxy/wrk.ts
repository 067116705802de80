import { execa } from 'execa';

export interface WrkOptions {
  url: string;
  connections: number;
  seconds: number;
  /** those that it may run on, as `taskset` lists them */
  cpus: string;
}

export interface WrkRun {
  /** rejects if a request failed */
  ended: Promise<{ requests: number; perSecond: number }>;
}

/** A load of keep-alive connections from one thread of one CPU. */
export function startWrk({ url, connections, seconds, cpus }: WrkOptions): WrkRun {
  const load = ['wrk', '-t', '1', '-c', String(connections), '-d', `${seconds}s`, '--timeout', '10s', url];
  const child = execa('taskset', ['-c', cpus, ...load]);
  return { ended: child.then(({ stdout }) => read(stdout)) };
}

function read(report: string): { requests: number; perSecond: number } {
  const failed = /Non-2xx.*|Socket errors.*/.exec(report)?.[0];
  const requests = /(\d+) requests in/.exec(report)?.[1];
  const perSecond = /Requests\/sec: +([\d.]+)/.exec(report)?.[1];
  if (failed !== undefined || requests === undefined || perSecond === undefined)
    throw new Error(`wrk: ${failed ?? report}`);
  return { requests: Number(requests), perSecond: Number(perSecond) };
}
