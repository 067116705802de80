import type { RoutingTable } from '../port.ts';

/** Requests that are a service's: to a host (null: any), below a path. */
export interface Claim {
  service: string;
  host: string | null;
  path: string;
  /** only what no other service claims */
  rest: boolean;
}

/** The claims on one address in the order in which they are asked: a host before any, a long path before a short one. */
export function claimsOf(tables: RoutingTable[]): Claim[] {
  const claims = tables.flatMap(({ service, traffic: { match, preview } }): Claim[] => [
    ...match.map(({ host, path }) => ({
      service,
      host: host?.toLowerCase() ?? null,
      path: path.replace(/(?<=.)\/$/, ''),
      rest: false,
    })),
    ...(preview?.host ? [{ service, host: preview.host.toLowerCase(), path: '/', rest: false }] : []),
    ...(match.length === 0 ? [{ service, host: null, path: '/', rest: true }] : []),
  ]);
  return claims.sort(
    (a, b) =>
      Number(a.rest) - Number(b.rest) ||
      Number(a.host === null) - Number(b.host === null) ||
      b.path.length - a.path.length ||
      (a.service < b.service ? -1 : 1),
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

function keyOf({ host, path, rest }: Claim): string {
  return rest ? '' : `${host ?? ''}${path}`;
}
