import { readdirSync, readFileSync, readlinkSync } from 'node:fs';

/** How many of its clients' connections to a port of 127.0.0.1 a process holds. */
export function connectionsOf(pid: number, port: number): number {
  const sockets = new Set(
    readdirSync(`/proc/${pid}/fd`).flatMap((fd) => {
      try {
        return /^socket:\[(\d+)\]$/.exec(readlinkSync(`/proc/${pid}/fd/${fd}`))?.[1] ?? [];
      } catch {
        return []; // closed meanwhile
      }
    }),
  );
  const local = `0100007F:${port.toString(16).toUpperCase().padStart(4, '0')}`;
  return readFileSync('/proc/net/tcp', 'utf8')
    .split('\n')
    .map((line) => line.trim().split(/\s+/))
    .filter(([, from, , state, , , , , , inode]) => {
      return from === local && state !== LISTEN && inode !== undefined && sockets.has(inode);
    }).length;
}

const LISTEN = '0A';
