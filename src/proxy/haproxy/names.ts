import { createHash } from 'node:crypto';
import { isIPv6 } from 'node:net';
import type { Route } from '../port.ts';

export const FRONTEND = 'clients';

/**
 * Every instance is a server in two backends of its service. `reads` takes what may be sent twice: connections are used
 * again, and an answer that never began is asked for elsewhere. `writes` takes the rest, on a new connection for every
 * request: one that an instance closes at the moment it is used again would lose a request that must not be repeated.
 * `preview` has the instances of the preview revision alone; `connections` is what a service in `tcp` mode has instead.
 */
export type Pool = 'reads' | 'writes' | 'preview' | 'connections';

export function backendName(service: string, pool: Pool): string {
  return `${word(service)}:${pool}`;
}

/** HAProxy's name of an instance of a revision at one address: at another address it is another server. */
export function serverName({ instance, revision, host, port }: Omit<Route, 'weight'>): string {
  return `${word(instance)}:${revision}:${word(host)}:${port}`;
}

/** Whose server it is, by its name. */
export function readServerName(name: string): { instance: string; revision: number } {
  const [instance = '', revision] = name.split(':');
  const read = instance.replaceAll(/_([0-9a-f]+)_/g, (_, code: string) =>
    String.fromCodePoint(Number.parseInt(code, 16)),
  );
  return { instance: read, revision: Number(revision) };
}

/** The service's part of a backend's name. */
export function serviceWord(backend: string): string {
  return backend.slice(0, Math.max(0, backend.indexOf(':')));
}

export function addressOf(host: string, port: number): string {
  return `${isIPv6(host) ? `[${host}]` : host}:${port}`;
}

/** In letters that HAProxy allows in a name, less those that separate here; no two texts give the same word. */
export function word(text: string): string {
  return text.replaceAll(/[^A-Za-z0-9.-]/gu, (letter) => `_${letter.codePointAt(0)?.toString(16)}_`);
}

/** A short name that gives nothing away: what HAProxy makes of the first field of a server's name by `ALIAS`. */
export function alias({ instance }: Pick<Route, 'instance'>): string {
  return short(word(instance));
}

export const ALIAS = 'field(1,:),sha2(256),bytes(0,8),hex,lower';

/** 16 hexadecimal digits of a text's SHA-256. */
export function short(text: string): string {
  return createHash('sha256').update(text).digest('hex').slice(0, 16);
}
