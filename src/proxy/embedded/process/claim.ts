import { link, rename, rm } from 'node:fs/promises';
import { connect } from 'node:net';

/**
 * Lets a server listen on a unix socket that only one process may own; `false` where another one answers there. The
 * socket is made under a name of its own and linked into place, which fails where something is there already; what a
 * dead process left is moved away first, and looked at again: it may have been replaced by a live one meanwhile.
 */
export async function claim(path: string, listen: (path: string) => Promise<unknown>): Promise<boolean> {
  const own = await listenBeside(path, listen);
  try {
    while (!(await linked(own, path))) {
      if (await answers(path)) return false;
      const stale = `${own}.stale`;
      await rename(path, stale).catch(unlessMissing);
      if (await answers(stale)) {
        await linked(stale, path);
        await rm(stale, { force: true });
        return false;
      }
      await rm(stale, { force: true });
    }
    return true;
  } finally {
    await rm(own, { force: true });
  }
}

/** Lets a server listen on a unix socket beside that one, for its user only; returns its path. */
export async function listenBeside(
  path: string,
  listen: (path: string) => Promise<unknown>,
): Promise<string> {
  const own = `${path}.${process.pid}`;
  await rm(own, { force: true });
  const umask = process.umask(0o177);
  try {
    await listen(own);
  } finally {
    process.umask(umask);
  }
  return own;
}

/** Whether a process accepts connections on a unix socket. */
function answers(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(path);
    socket.once('connect', () => resolve(true));
    socket.once('error', () => resolve(false));
    socket.once('connect', () => socket.destroy());
  });
}

async function linked(from: string, to: string): Promise<boolean> {
  try {
    await link(from, to);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false;
    throw error;
  }
}

function unlessMissing(error: NodeJS.ErrnoException): void {
  if (error.code !== 'ENOENT') throw error;
}
