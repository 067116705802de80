import type { RoutingTable } from '../port.ts';
import { claimsOf } from './claims.ts';
import { forwardingLines, refusalLines } from './config-headers.ts';
import { backendName, word } from './names.ts';
import { PREVIEW } from './pools.ts';
import { mapFile, type ProcessFiles } from './records.ts';
import { answer, quoted } from './text.ts';

/** What the controller reads of every request (`lines.ts`): how it ended, and its line of the access log. */
const LOG = '%b %s %ST %Ta %tsc %rc %U %B %[date(0,ms)] %[var(txn.access)]';
const TCP_LOG = '%b %s 0 %Tt %tsc %rc %U %B %[date(0,ms)] -';

/** The rules for connections of a service that has the address alone. */
export function connectionLines(tables: RoutingTable[]): string[] {
  return [
    `log-format "${TCP_LOG}"`,
    ...tables.map(({ service }) => `default_backend ${backendName(service, 'connections')}`),
  ];
}

/** The rules for requests: what is refused, whose it is, what is said of the client, and which backend takes it. */
export function requestLines(tables: RoutingTable[], files: ProcessFiles): string[] {
  return [
    `log-format "${LOG}"`,
    `http-error ${answer(408, 'bad-request', 'the request came too slowly')}`,
    `http-error ${answer(502, 'upstream', 'the instance gave no answer')}`,
    `http-error ${answer(503, 'no-instance', 'no instance took the request')}`,
    `http-error ${answer(504, 'response-timeout', 'the instance did not answer in time')}`,
    ...refusalLines(tables.some(({ traffic }) => traffic.tls !== null)),
    ...serviceLines(tables),
    ...forwardingLines(tables.some(({ traffic }) => traffic.tls !== null)),
    'acl safe method GET HEAD OPTIONS',
    'acl body req.fhdr(content-length) -m found',
    'acl body req.fhdr(transfer-encoding) -m found',
    ...tables.flatMap((table) => previewLines(table, files)),
    'use_backend %[var(txn.service)]:reads if safe !body',
    'use_backend %[var(txn.service)]:writes',
  ];
}

/** The first claim that fits has the request: those of a host come before those of any, long paths before short ones. */
function serviceLines(tables: RoutingTable[]): string[] {
  const lines = claimsOf(tables).map(({ service, host, path }) => {
    const conditions = [
      '!{ var(txn.service) -m found }',
      ...(host === null ? [] : [`{ var(txn.host) -m str -- ${quoted(host)} }`]),
      ...(path === '/' ? [] : [`{ path -m reg -- ${quoted(segments(path))} }`]),
    ];
    return `http-request set-var(txn.service) str(${word(service)}) if ${conditions.join(' ')}`;
  });
  return [
    'http-request set-var(txn.host) req.fhdr(host),host_only,lower',
    ...lines,
    `http-request deny ${answer(404, 'no-service', 'no service takes this request')} if !{ var(txn.service) -m found }`,
  ];
}

/** A path, and what is below it: `/a` has `/a/b`, not `/ab`. */
function segments(path: string): string {
  return `^${path.replace(/\/$/, '').replaceAll(/[\\^$.*+?()[\]{}|]/g, '\\$&')}(/|$)`;
}

function previewLines({ service, traffic: { preview } }: RoutingTable, files: ProcessFiles): string[] {
  const backend = backendName(service, 'preview');
  const shown = `{ str(${PREVIEW}),map_str(${quoted(mapFile(files, service))}) -m found }`;
  const own = `{ var(txn.service) -m str ${word(service)} }`;
  const lines: string[] = [];
  if (preview?.host) lines.push(`{ var(txn.host) -m str -- ${quoted(preview.host.toLowerCase())} }`);
  if (preview?.header)
    lines.push(`{ req.fhdr(${preview.header.name}) -m str -- ${quoted(preview.header.value)} }`);
  return lines.map((condition) => `use_backend ${backend} if ${own} ${condition} ${shown}`);
}
