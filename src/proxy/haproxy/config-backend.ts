import type { RoutingTable } from '../port.ts';
import { LIMITS } from './limits.ts';
import { ALIAS, type Pool, word } from './names.ts';
import { balanceOf, type PoolLines, poolsOf, STICKY_SLOTS, serverOptions } from './pools.ts';
import { mapFile, type ProcessFiles } from './records.ts';
import { answer, quoted } from './text.ts';

/** The backends of a service. */
export function backendLines(table: RoutingTable, files: ProcessFiles, servers: boolean): string[] {
  return poolsOf(table).flatMap((pool) => [
    '',
    `backend ${pool.backend}`,
    ...[...settings(table, files, pool), ...(servers ? serverLines(table, pool) : [])].map(
      (line) => `  ${line}`,
    ),
  ]);
}

function settings(table: RoutingTable, files: ProcessFiles, { pool }: PoolLines): string[] {
  const { mode, timeouts, hold } = table.traffic;
  const held = [
    mode,
    word(table.service),
    hold.requests,
    hold.bytes,
    hold.time,
    hold.health === null ? '-' : quoted(hold.health),
  ];
  const common = [
    `balance ${balanceOf(table)}`,
    `timeout connect ${timeouts.connect}`,
    `timeout server ${timeouts.response}`,
    `timeout queue ${hold.time}`,
    ...checkLines(table),
  ];
  if (pool === 'connections')
    return [
      ...common,
      `tcp-request inspect-delay ${hold.time}`,
      `tcp-request content lua.hold ${held.join(' ')} if { nbsrv eq 0 }`,
    ];
  return [
    ...common,
    ...retryLines(pool),
    ...accessLines(table),
    ...limitLines(table),
    `http-request set-timeout server ${LIMITS.tunnel} if { req.fhdr(accept) -m sub -i text/event-stream }`,
    ...(pool === 'preview' ? [] : [`http-request lua.hold ${held.join(' ')} if { nbsrv eq 0 }`]),
    // drains know event streams by it
    `http-response set-nice ${EVENTS_NICE} if { res.fhdr(content-type) -m beg -i text/event-stream }`,
    ...(pool === 'preview' ? [] : stickyLines(table, files)),
  ];
}

/** The priority that marks event streams; of no consequence otherwise. */
export const EVENTS_NICE = 1;

function checkLines({ traffic: { check } }: RoutingTable): string[] {
  if (check === null) return [];
  return [
    'option httpchk',
    `http-check send meth GET uri ${quoted(check.path)} ver HTTP/1.1 hdr Host unideploy`,
    'http-check expect status 200-299',
    `timeout check ${check.timeout}`,
  ];
}

function retryLines(pool: Pool): string[] {
  if (pool === 'reads') return ['retry-on conn-failure empty-response'];
  return ['option http-server-close', 'http-reuse never', 'retry-on conn-failure'];
}

function accessLines({ service, traffic }: RoutingTable): string[] {
  if (!traffic.accessLog) return [];
  const text = (sample: string) => String.raw`\"%[${sample},json(utf8s)]\"`;
  const fields = [
    `\\"service\\":${JSON.stringify(JSON.stringify(service)).slice(1, -1).replaceAll('%', '%%')}`,
    `\\"id\\":${text('req.fhdr(x-request-id)')}`,
    `\\"method\\":${text('method')}`,
    `\\"host\\":${text('var(txn.host)')}`,
    `\\"path\\":${text('pathq')}`,
  ];
  return [`http-request set-var-fmt(txn.access) "{${fields.join(',')}}"`];
}

function limitLines({ traffic: { limits } }: RoutingTable): string[] {
  const head = answer(431, 'bad-request', `the header is over ${limits.head} bytes`);
  const lines = [
    'http-request set-var(txn.target) url,length',
    `http-request deny ${head} if { req.hdrs,length,add(txn.target) gt ${limits.head} }`,
  ];
  if (limits.body === null) return lines;
  const body = answer(413, 'too-large', `the body is over ${limits.body} bytes`);
  return [...lines, `http-request deny ${body} if { req.hdr_val(content-length) gt ${limits.body} }`];
}

/** The cookie is `<revision>.<alias of the server>`; the map, kept by the runtime API, says where it leads. */
function stickyLines(table: RoutingTable, files: ProcessFiles): string[] {
  const { sticky, tls } = table.traffic;
  if (sticky === null) return [];
  const map = `map_str(${mapFile(files, table.service)})`;
  const cookie = `req.cook(${sticky.cookie})`;
  const name = escaped(sticky.cookie);
  const mine = `%[srv_name,field(2,:)].%[srv_name,${ALIAS}]`;
  return [
    `http-request set-var(txn.cookie) ${cookie}`,
    `http-request set-var(txn.own) var(txn.cookie),field(2,.),${map}`,
    `http-request set-var-fmt(txn.slot) "%[var(txn.cookie),field(1,.)]/%[var(txn.cookie),crc32,mod(${STICKY_SLOTS})]"`,
    `http-request set-var(txn.kin) var(txn.slot),${map}`,
    // ours is nothing to the instance
    `http-request replace-header Cookie '^${name}=[^;]*(; *(.*))?$' '\\2'`,
    `http-request replace-header Cookie '^(.*); *${name}=[^;]*(.*)$' '\\1\\2'`,
    'http-request del-header Cookie if { req.fhdr(cookie) -m len 0 }',
    'use-server %[var(txn.own)] if { var(txn.own) -m found }',
    'use-server %[var(txn.kin)] if { var(txn.kin) -m found }',
    `http-response set-var-fmt(txn.mine) "${mine}"`,
    `http-response add-header Set-Cookie "${sticky.cookie}=%[var(txn.mine)]; Path=/; HttpOnly; SameSite=Lax${tls ? '; Secure' : ''}" unless { var(txn.mine),strcmp(txn.cookie) eq 0 }`,
  ];
}

function escaped(text: string): string {
  return text.replaceAll(/[\\^$.*+?()[\]{}|']/g, '\\$&');
}

function serverLines(table: RoutingTable, { servers }: PoolLines): string[] {
  const options = serverOptions(table);
  return servers.map(({ name, address, weight }) => `server ${name} ${address} ${options} weight ${weight}`);
}
