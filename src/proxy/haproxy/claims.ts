import type { RoutingTable } from '../port.ts';

/** Requests that are a service's: to a host (null: any), below a path. */
export interface Claim {
  service: string;
  host: string | null;
  path: string;
}

/** The claims on one address in the order in which they are asked: a host before any, a long path before a short one. */
export function claimsOf(tables: RoutingTable[]): Claim[] {
  const claims = tables.flatMap(({ service, traffic: { match } }): Claim[] =>
    (match.length === 0 ? [{ host: null, path: '/' }] : match).map(({ host, path }) => ({
      service,
      host: host?.toLowerCase() ?? null,
      path: path.replace(/(?<=.)\/$/, ''),
    })),
  );
  return claims.sort(
    (a, b) => Number(a.host === null) - Number(b.host === null) || b.path.length - a.path.length,
  );
}

/** Why a service cannot share the address with these others; undefined where it can. */
export function conflictOf(table: RoutingTable, others: RoutingTable[]): string | undefined {
  const claims = claimsOf([table]);
  for (const other of others) {
    if (table.traffic.mode === 'tcp' || other.traffic.mode === 'tcp')
      return `${other.service} is there, and a service of connections has its address alone`;
    if ((table.traffic.tls === null) !== (other.traffic.tls === null))
      return `${other.service} is there, and an address is either TLS or plain for all`;
    const taken = new Set(claimsOf([other]).map(keyOf));
    const same = claims.find((claim) => taken.has(keyOf(claim)));
    if (same) return `${other.service} has ${same.host ?? 'every host'}${same.path} already`;
  }
  return undefined;
}

function keyOf({ host, path }: Claim): string {
  return `${host ?? ''}${path}`;
}
