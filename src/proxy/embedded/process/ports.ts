import { setTimeout as delay } from 'node:timers/promises';
import { UnideployError } from '../../../errors.ts';
import type { ListenAddress } from '../../port.ts';
import { LIMITS } from '../limits.ts';
import { type BoundSocket, bind, inherited, portOf } from './bind.ts';

/** The bound sockets of a data plane. Services that listen on one address share its socket. */
export class Ports {
  readonly #held = new Map<string, { socket: BoundSocket; address: ListenAddress; users: Set<string> }>();

  /** Binds the address for a service, or shares it; the port comes back as the system gave it (UD_PORT_IN_USE). */
  async open(service: string, { host, port }: ListenAddress): Promise<ListenAddress> {
    const held = this.#held.get(keyOf({ host, port }));
    if (held) {
      held.users.add(service);
      return held.address;
    }
    const socket = await bindSoon({ host, port });
    const address = { host, port: portOf(socket) };
    this.#held.set(keyOf(address), { socket, address, users: new Set([service]) });
    return address;
  }

  /** Takes over a socket that came with the process. */
  adopt(address: ListenAddress, fd: number, users: string[]): void {
    this.#held.set(keyOf(address), { socket: inherited(fd), address, users: new Set(users) });
  }

  /** The service needs the address no more; the port is free when the workers have closed it, too. */
  release(service: string, address: ListenAddress): void {
    const held = this.#held.get(keyOf(address));
    held?.users.delete(service);
    if (!held || held.users.size > 0) return;
    this.#held.delete(keyOf(address));
    held.socket.close();
  }

  /** @throws Error for an address that is not open */
  socketAt(address: ListenAddress): BoundSocket {
    const held = this.#held.get(keyOf(address));
    if (!held) throw new Error(`${keyOf(address)} is not open`);
    return held.socket;
  }

  all(): { address: ListenAddress; fd: number; users: string[] }[] {
    return [...this.#held.values()].map(({ address, socket, users }) => ({
      address,
      fd: socket.fd,
      users: [...users],
    }));
  }

  close(): void {
    for (const { socket } of this.#held.values()) socket.close();
    this.#held.clear();
  }
}

/** A port that is in use may just be given up: by workers that outlived their primary, or by a service that moved away. */
async function bindSoon(address: ListenAddress): Promise<BoundSocket> {
  const end = performance.now() + LIMITS.bind;
  for (;;) {
    try {
      return await bind(address);
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code !== 'EADDRINUSE' || performance.now() >= end)
        throw cannotListen(address, error as NodeJS.ErrnoException);
      await delay(10);
    }
  }
}

export function cannotListen({ host, port }: ListenAddress, error: NodeJS.ErrnoException): UnideployError {
  return new UnideployError(
    'UD_PORT_IN_USE',
    `cannot listen on ${host}:${port}: ${error.code === 'EADDRINUSE' ? 'another program does' : error.message}`,
    'end what listens there, or choose another `listen` address',
    { cause: error },
  );
}

function keyOf({ host, port }: ListenAddress): string {
  return `${host} ${port}`;
}
