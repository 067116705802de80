import { isIPv6 } from 'node:net';
import type { Route } from '../port.ts';

export const FRONTEND = 'clients';

/**
 * Every instance is a server in two backends. `reads` takes what may be sent twice: connections are used again, and an
 * answer that never began is asked for elsewhere. `writes` takes the rest, on a new connection for every request: one that
 * an instance closes at the moment it is used again would lose a request that must not be repeated.
 */
export const POOLS = ['reads', 'writes'] as const;

/** HAProxy's name of an instance at one address: at another address it is another server. */
export function serverName({ instance, host, port }: Pick<Route, 'instance' | 'host' | 'port'>): string {
  return `${word(instance)}:${word(host)}:${port}`;
}

/** Whether a server's name is that of an instance, whatever the address. */
export function isServerOf(instance: string, server: string): boolean {
  return server.startsWith(`${word(instance)}:`);
}

export function addressOf(host: string, port: number): string {
  return `${isIPv6(host) ? `[${host}]` : host}:${port}`;
}

/** In letters that HAProxy allows in a name, less those that separate here; no two texts give the same word. */
function word(text: string): string {
  return text.replaceAll(/[^A-Za-z0-9.-]/gu, (letter) => `_${letter.codePointAt(0)?.toString(16)}_`);
}
