import { readFile, rename, rm, writeFile } from 'node:fs/promises';
import type { ListenAddress } from '../proxy/port.ts';
import type { StatePaths } from './paths.ts';

/** Where the state's controllers let Prometheus read. */
export async function metricsAddressOf({ metricsAddress }: StatePaths): Promise<ListenAddress | 'off'> {
  return readAddress((await readFile(metricsAddress, 'utf8').catch(() => '')).trim()) ?? 'off';
}

/** From now on, for every controller to come. */
export async function chooseMetricsAddress(
  { metricsAddress }: StatePaths,
  address: ListenAddress | 'off',
): Promise<void> {
  if (address === 'off') {
    await rm(metricsAddress, { force: true });
    return;
  }
  await writeFile(`${metricsAddress}.new`, `${writeAddress(address)}\n`, { mode: 0o600 });
  await rename(`${metricsAddress}.new`, metricsAddress);
}

/** `host:port`, the host of an IPv6 address in brackets; null for anything else. */
export function readAddress(text: string): ListenAddress | null {
  const [, host, port] = /^\[?([^\]]+?)\]?:(\d+)$/.exec(text) ?? [];
  if (host === undefined || Number(port) > 65_535) return null;
  return { host, port: Number(port) };
}

export function writeAddress(address: ListenAddress | 'off'): string {
  if (address === 'off') return address;
  const { host, port } = address;
  return `${host.includes(':') ? `[${host}]` : host}:${port}`;
}
