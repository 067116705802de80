import { lookup } from 'node:dns/promises';
import net, { isIP } from 'node:net';
import { getSystemErrorName } from 'node:util';
import type { ListenAddress } from '../../port.ts';

/** A TCP socket that has its port and accepts nothing. Workers are given it, and listen on it. */
export interface BoundSocket {
  readonly fd: number;
  getsockname(out: { port?: number }): number;
  close(): void;
}

/**
 * Node's public API cannot bind without accepting: `server.listen` does both, and its handle can be sent, but the
 * process that made it would take connections too. This is the function with which node:cluster binds the sockets that
 * its workers share, exported by node:net for that; nothing else here leans on Node's inside.
 */
const { _createServerHandle: createServerHandle } = net as unknown as {
  _createServerHandle(host: string | null, port: number, family: number, fd?: number): BoundSocket | number;
};

/** Binds an address; the error has the system's code (EADDRINUSE, EACCES, EADDRNOTAVAIL, ENOTFOUND). */
export async function bind({ host, port }: ListenAddress): Promise<BoundSocket> {
  const { address, family } = isIP(host) === 0 ? await lookup(host) : { address: host, family: isIP(host) };
  return checked(createServerHandle(address, port, family));
}

/** A socket that came with the process, as descriptor `fd`. */
export function inherited(fd: number): BoundSocket {
  return checked(createServerHandle(null, 0, -1, fd));
}

export function portOf(socket: BoundSocket): number {
  const name: { port?: number } = {};
  socket.getsockname(name);
  return name.port ?? 0;
}

/** libuv keeps EADDRINUSE to itself until the socket is used: asking for its name is the least use. */
function checked(made: BoundSocket | number): BoundSocket {
  if (typeof made === 'number') throw failed(made);
  const status = made.getsockname({});
  if (status === 0) return made;
  made.close();
  throw failed(status);
}

function failed(status: number): NodeJS.ErrnoException {
  const code = getSystemErrorName(status);
  return Object.assign(new Error(`bind ${code}`), { code, errno: status, syscall: 'bind' });
}
