import type { ActiveCheck, TrafficPolicy } from '../domain/traffic.ts';
import type { FileReference } from './config.ts';
import type { KeyPath } from './positions.ts';
import { proxyCheck } from './proxy-schema.ts';
import type { Declaration } from './schema.ts';

/** How clients reach the service; its TLS files need not be there before the build commands have run. */
export type TrafficConfig = Omit<TrafficPolicy, 'tls'> & {
  tls: { certificate: FileReference; key: FileReference } | null;
};

type Reference = (written: string, path: KeyPath) => FileReference;

/** What `proxy` says, with all that it leaves to `health`. */
export function trafficOf({ proxy, health }: Declaration, reference: Reference): TrafficConfig {
  const { match, tls, preview, hold, limits } = proxy;
  return {
    ...proxy,
    match: match.map(({ host, path }) => ({ host: host ?? null, path })),
    tls: tls
      ? {
          certificate: reference(tls.certificate, ['proxy', 'tls', 'certificate']),
          key: reference(tls.key, ['proxy', 'tls', 'key']),
        }
      : null,
    preview: preview ? { host: preview.host ?? null, header: preview.header ?? null } : null,
    check: checkOf(proxy, health),
    hold: { ...hold, health: hold.health ?? null },
    limits: { ...limits, body: limits.body ?? null },
  };
}

function checkOf({ mode, check }: Declaration['proxy'], health: Declaration['health']): ActiveCheck | null {
  const said = check ?? (mode === 'tcp' ? false : proxyCheck.parse({}));
  if (said === false) return null;
  return { ...said, path: said.path ?? health.path, timeout: said.timeout ?? health.timeout };
}
