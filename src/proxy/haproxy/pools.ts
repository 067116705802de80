import type { Route, RoutingTable } from '../port.ts';
import { LIMITS } from './limits.ts';
import { addressOf, alias, backendName, type Pool, serverName } from './names.ts';

/** A server as the configuration and `add server` describe it. */
export interface ServerLine {
  name: string;
  address: string;
  weight: number;
}

/** A backend with the servers that it is to have. */
export interface PoolLines {
  pool: Pool;
  backend: string;
  servers: ServerLine[];
}

/**
 * The backends of a table. While it holds, and for servers that are ejected (`out`), the weight is 0: they take nothing
 * new. Only the preview goes on.
 */
export function poolsOf(table: RoutingTable, out: ReadonlySet<string> = NONE): PoolLines[] {
  const lines = (pool: Pool, routes: Route[], weight: (route: Route) => number): PoolLines => ({
    pool,
    backend: backendName(table.service, pool),
    servers: routes.map((route) => ({
      name: serverName(route),
      address: addressOf(route.host, route.port),
      weight: weight(route),
    })),
  });
  const share = (route: Route) => (table.hold || out.has(serverName(route)) ? 0 : route.weight);
  if (table.traffic.mode === 'tcp') return [lines('connections', table.routes, share)];
  const pools = [lines('reads', table.routes, share), lines('writes', table.routes, share)];
  if (table.traffic.preview === null) return pools;
  return [...pools, lines('preview', previewed(table), () => 1)];
}

/** Whether requests are refused, since nothing is there to wait for. */
export function isClosed({ hold, routes }: RoutingTable): boolean {
  return !hold && routes.length === 0;
}

function previewed({ routes, preview }: RoutingTable): Route[] {
  return routes.filter(({ revision }) => revision === preview);
}

/**
 * How HAProxy chooses. Its `leastconn` and `random` weigh what is in flight, so that a slow revision gets less than its
 * share: where weights or revisions differ, only round robin keeps the shares exact.
 */
export function balanceOf({ traffic, routes }: RoutingTable): string {
  const open = routes.filter(({ weight }) => weight > 0);
  if (new Set(open.map(({ revision, weight }) => `${revision}/${weight}`)).size > 1) return 'roundrobin';
  return { 'least-in-flight': 'leastconn', 'round-robin': 'roundrobin', 'power-of-two': 'random(2)' }[
    traffic.balance
  ];
}

/** How HAProxy looks at a server. A refused connection takes it out until a connection, or the check, succeeds again. */
export function serverOptions({ traffic: { check } }: RoutingTable): string {
  const observed = `observe layer4 error-limit 1 on-error mark-down ${KEPT}`;
  if (check === null)
    return `check inter 2s downinter ${LIMITS.eject} fastinter ${LIMITS.eject} rise 1 fall 2 ${observed}`;
  const soon = Math.min(check.interval, LIMITS.eject);
  return `check inter ${check.interval} downinter ${soon} fastinter ${soon} rise ${check.healthy} fall ${check.unhealthy} ${observed}`;
}

/** HAProxy's defaults, which 2.6 forgets for servers that are added at run time: they would keep no connection. */
const KEPT = 'pool-max-conn -1 pool-purge-delay 5s';

/** What a service's map says, for what requests need to know that changes with the table. */
export function mapEntries(table: RoutingTable, out: ReadonlySet<string> = NONE): [string, string][] {
  const shown = table.traffic.preview !== null && previewed(table).length > 0;
  return [...stickyEntries(table, out), ...(shown ? [[PREVIEW, 'shown'] as [string, string]] : [])];
}

/** The map has it while preview requests have instances of their own; they are routed as any other where not. */
export const PREVIEW = 'preview';

export function hasMap({ traffic }: RoutingTable): boolean {
  return traffic.sticky !== null || traffic.preview !== null;
}

/**
 * Where cookies lead: an instance's own to its server, and those of a revision whose instance has gone, by a few slots, to
 * the servers that the revision still has. Servers without a share are in neither.
 */
function stickyEntries(table: RoutingTable, out: ReadonlySet<string>): [string, string][] {
  if (table.traffic.sticky === null || table.hold) return [];
  const open = table.routes.filter((route) => route.weight > 0 && !out.has(serverName(route)));
  const own = open.map((route): [string, string] => [alias(route), serverName(route)]);
  const slots = [...new Set(open.map(({ revision }) => revision))].flatMap((revision) => {
    const names = open.filter((route) => route.revision === revision).map(serverName);
    return Array.from({ length: STICKY_SLOTS }, (_, slot): [string, string] => [
      `${revision}/${slot}`,
      names[slot % names.length] as string,
    ]);
  });
  return [...own, ...slots];
}

export const STICKY_SLOTS = 16;

const NONE: ReadonlySet<string> = new Set();
