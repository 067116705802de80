import { renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { UnideployError } from '../../../errors.ts';

/** The data plane's files in a state directory. */
export interface PlaneFiles {
  /** control socket, mode 0600 */
  socket: string;
  log: string;
  pid: string;
  /** a JSON line for every request of the services that ask for it */
  accessLog: string;
}

/** UD_STATE_PATH: the directory's path leaves no room for a socket's name. */
export function planeFiles(state: string): PlaneFiles {
  const socket = join(state, 'proxy.sock');
  if (Buffer.byteLength(socket) > LONGEST)
    throw new UnideployError(
      'UD_STATE_PATH',
      `the path of the state directory is too long for a socket: ${state}`,
      `choose a state directory of at most ${LONGEST - '/proxy.sock'.length} bytes`,
    );
  return {
    socket,
    log: join(state, 'proxy.log'),
    pid: join(state, 'proxy.pid'),
    accessLog: join(state, 'access.log'),
  };
}

/**
 * Whole, or not at all: it is read while it is written. It is for people and their tools, who ask at the socket where it
 * is missing: a disk that does not take it keeps nobody from serving.
 */
export function writePid({ pid: file }: PlaneFiles, pid: number): void {
  try {
    writeFileSync(`${file}.new`, `${pid}\n`);
    renameSync(`${file}.new`, file);
  } catch {
    rmSync(file, { force: true });
  }
}

/** 107 bytes fit a unix socket's address; `claim` appends a process id and a word. */
const LONGEST = 90;
