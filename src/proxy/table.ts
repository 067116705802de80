import { z } from 'zod';
import { BALANCES, type TrafficPolicy } from '../domain/traffic.ts';
import { UnideployError } from '../errors.ts';
import type { RoutingTable } from './port.ts';

/** Checks a table from outside (UD_TABLE_REFUSED names the first thing that is wrong). */
export function readTable(service: string, value: unknown): RoutingTable {
  const result = TABLE.safeParse(value);
  const problem = result.success ? problemOf(service, result.data) : z.prettifyError(result.error);
  if (result.success && problem === undefined) return result.data;
  throw new UnideployError(
    'UD_TABLE_REFUSED',
    `the routing table of ${service} is not valid: ${problem?.replaceAll(/\s+/g, ' ')}`,
    'this is a bug of whoever made the table: the table before it stays in force',
  );
}

/** The refusal of a table that is not newer than the one in force. */
export function notNewer(table: RoutingTable, current: number): UnideployError {
  return new UnideployError(
    'UD_TABLE_REFUSED',
    `version ${table.version} of the routing table of ${table.service} is not newer than ${current}, which is in force`,
    'another controller may be at work: ask for the status, and go on from its version',
  );
}

function problemOf(service: string, table: RoutingTable): string | undefined {
  if (table.service !== service) return `it is for ${table.service}`;
  const names = new Set(table.routes.map(({ instance }) => instance));
  if (names.size !== table.routes.length) return 'an instance has more than one route';
  const { mode, match, sticky, preview } = table.traffic;
  if (mode === 'tcp' && (match.length > 0 || sticky !== null || preview !== null))
    return 'a service of connections has no hosts, paths, cookies or headers';
  return undefined;
}

const host = z
  .string()
  .regex(/^[a-z0-9.:_-]+$/i, 'not a host name or an address')
  .refine((name) => URL.canParse(`http://${name.includes(':') ? `[${name}]` : name}/`), 'not a host');

const time = z.int().min(1).max(2_147_483_647);
const grace = z.int().min(0).max(2_147_483_647);
const count = z.int().min(1).max(1_000_000);
const urlPath = z.string().regex(/^\/[!-~]*$/, 'not a path');
const token = z.string().regex(/^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}$/, 'not a token');

export const trafficPolicy: z.ZodType<TrafficPolicy> = z.strictObject({
  mode: z.enum(['http', 'tcp']),
  match: z.array(z.strictObject({ host: host.nullable(), path: urlPath })),
  tls: z.strictObject({ certificate: z.string().min(1), key: z.string().min(1) }).nullable(),
  balance: z.enum(BALANCES),
  // a data plane of an earlier version hands over tables without it
  sticky: z.strictObject({ cookie: token, pages: grace.default(0) }).nullable(),
  preview: z
    .strictObject({
      host: host.nullable(),
      header: z.strictObject({ name: token, value: z.string().regex(/^[!-~]{1,200}$/) }).nullable(),
    })
    .nullable(),
  check: z
    .strictObject({ path: urlPath, interval: time, timeout: time, healthy: count, unhealthy: count })
    .nullable(),
  eject: z.strictObject({ failures: count, time, floor: z.int().min(0).max(100) }),
  drain: z.strictObject({ websocket: grace, events: grace }),
  hold: z.strictObject({
    requests: z.int().min(0).max(1_000_000),
    bytes: z.int().min(0),
    time,
    health: urlPath.nullable(),
  }),
  limits: z.strictObject({
    head: z
      .int()
      .min(1024)
      .max(1 << 20),
    body: z.int().min(0).nullable(),
  }),
  timeouts: z.strictObject({ connect: time, response: time, head: time, body: time, idle: time }),
  accessLog: z.boolean(),
});

const TABLE: z.ZodType<RoutingTable> = z.strictObject({
  service: z.string().min(1).max(200),
  version: z.int().nonnegative(),
  listen: z.strictObject({ host, port: z.int().min(0).max(65_535) }),
  hold: z.boolean(),
  preview: z.int().nonnegative().nullable(),
  traffic: trafficPolicy,
  routes: z.array(
    z.strictObject({
      instance: z.string().min(1).max(200),
      revision: z.int().nonnegative(),
      host,
      port: z.int().min(1).max(65_535),
      weight: z.int().min(0).max(256),
    }),
  ),
});
