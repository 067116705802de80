import { lstatSync, readdirSync, readlinkSync } from 'node:fs';
import { join, relative } from 'node:path';
import { connectQmp } from '../../../src/hypervisor/qemu/qmp/session.ts';
import type { Workplace } from './workplace.ts';

/** What a service holds of its host, in numbers that must not grow with the rollouts it has had. */
export interface Holding {
  /** block nodes of all guests, and how many backing files the deepest of them has beneath it */
  nodes: number;
  depth: number;
  /** open descriptors of all guests, and of the controller; sockets, of which each connection of a client is one, by themselves */
  guestFiles: number;
  controllerFiles: number;
  sockets: number;
  /** files in the run directories */
  runFiles: number;
}

export async function holding(place: Workplace): Promise<Holding> {
  const guests = await place.guestPids();
  const blocks = await Promise.all(
    Object.keys(guests).map((id) => blockNodes(join(place.state, 'run', id, 'own', 'debug'))),
  );
  const run = join(place.state, 'run');
  const open = Object.values(guests).map(descriptorsOf);
  const own = descriptorsOf(await place.controllerPid());
  return {
    nodes: blocks.flat().length,
    depth: Math.max(...blocks.flat().map((node) => node.backing_file_depth)),
    guestFiles: open.reduce((sum, { files }) => sum + files, 0),
    controllerFiles: own.files,
    sockets: [own, ...open].reduce((sum, { sockets }) => sum + sockets, 0),
    runFiles: filesIn(run).size,
  };
}

interface BlockNode {
  'node-name': string;
  backing_file_depth: number;
}

async function blockNodes(socket: string): Promise<BlockNode[]> {
  const session = await connectQmp(socket, { deadlineMs: 10_000 });
  try {
    return (await session.execute('query-named-block-nodes', { flat: true })) as BlockNode[];
  } finally {
    session.close();
  }
}

function descriptorsOf(pid: number): { files: number; sockets: number } {
  const folder = `/proc/${pid}/fd`;
  const links = readdirSync(folder).flatMap((name) => {
    try {
      return [readlinkSync(join(folder, name))];
    } catch {
      // closed meanwhile
      return [];
    }
  });
  const sockets = links.filter((link) => link.startsWith('socket:')).length;
  return { files: links.length - sockets, sockets };
}

/** What is in a folder: by its path there, what it is, how long, and when it was changed; the bytes of none. */
export function filesIn(folder: string): Map<string, string> {
  const found = new Map<string, string>();
  for (const entry of readdirSync(folder, { recursive: true, withFileTypes: true })) {
    const path = join(entry.parentPath, entry.name);
    const stat = lstatSync(path, { throwIfNoEntry: false });
    if (stat) found.set(relative(folder, path), `${stat.mode} ${stat.size} ${stat.mtimeMs} ${stat.nlink}`);
  }
  return found;
}

/** Bytes on the disk of all that a folder has. */
export function bytesIn(folder: string): number {
  return [...filesIn(folder).keys()].reduce((sum, path) => {
    const stat = lstatSync(join(folder, path), { throwIfNoEntry: false });
    return sum + (stat?.isFile() ? stat.blocks * 512 : 0);
  }, 0);
}
