import { z } from 'zod';
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

function problemOf(service: string, table: RoutingTable): string | undefined {
  if (table.service !== service) return `it is for ${table.service}`;
  const names = new Set(table.routes.map(({ instance }) => instance));
  if (names.size !== table.routes.length) return 'an instance has more than one route';
  return undefined;
}

const host = z
  .string()
  .regex(/^[a-z0-9.:_-]+$/i, 'not a host name or an address')
  .refine((name) => URL.canParse(`http://${name.includes(':') ? `[${name}]` : name}/`), 'not a host');

const TABLE: z.ZodType<RoutingTable> = z.strictObject({
  service: z.string().min(1).max(200),
  version: z.int().nonnegative(),
  listen: z.strictObject({ host, port: z.int().min(0).max(65_535) }),
  hold: z.boolean(),
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
