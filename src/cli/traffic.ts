import { existingFile } from '../artifact/references.ts';
import type { TrafficConfig } from '../config/traffic.ts';
import type { TrafficPolicy } from '../domain/traffic.ts';

/**
 * What the controller is told of how clients reach the service: of TLS files only the paths, for the data plane alone reads them.
 * @throws UD_FILE_NOT_FOUND with the line of the config
 */
export async function checkedTraffic({ tls, ...traffic }: TrafficConfig): Promise<TrafficPolicy> {
  if (!tls) return { ...traffic, tls };
  const certificate = await existingFile(tls.certificate);
  return { ...traffic, tls: { certificate, key: await existingFile(tls.key) } };
}
