import { readFile } from 'node:fs/promises';
import type { AddressInfo } from 'node:net';
import { createSecureContext } from 'node:tls';
import { UnideployError } from '../errors.ts';
import type { ListenAddress } from '../proxy/port.ts';
import { type ApiParts, apiServer } from './api.ts';
import { writeAddress } from './metrics-address.ts';
import { systemClock } from './system-clock.ts';

/** Where clients elsewhere are listened to. */
export interface RemoteAddress {
  listen: ListenAddress;
  /** paths of PEM files */
  cert: string;
  key: string;
}

/**
 * Listens to clients elsewhere, over TLS alone, and only to those with a token.
 *
 * @throws UD_TLS, UD_PORT_IN_USE
 */
export async function openRemoteApi(
  parts: ApiParts,
  { listen, cert, key }: RemoteAddress,
  tokens: string,
): Promise<{ url: string; close: () => Promise<void> }> {
  const pair = await readPair(cert, key);
  const api = await apiServer(parts, { ...pair, tokens, now: () => systemClock.now() });
  try {
    await api.listen(listen);
  } catch (error) {
    throw new UnideployError(
      'UD_PORT_IN_USE',
      `cannot serve the API on ${writeAddress(listen)}: ${(error as Error).message}`,
      'end what listens there, or choose another --api-listen address',
      { cause: error },
    );
  }
  const { port } = api.server.address() as AddressInfo;
  return { url: `https://${writeAddress({ ...listen, port })}`, close: () => api.close() };
}

async function readPair(certFile: string, keyFile: string): Promise<{ cert: string; key: string }> {
  try {
    const [cert, key] = await Promise.all([readFile(certFile, 'utf8'), readFile(keyFile, 'utf8')]);
    createSecureContext({ cert, key });
    return { cert, key };
  } catch (error) {
    throw new UnideployError(
      'UD_TLS',
      `the certificate and key of the API cannot be used: ${(error as Error).message}`,
      `see that ${certFile} and ${keyFile} are PEM files that belong together and that this user can read`,
      { cause: error },
    );
  }
}
