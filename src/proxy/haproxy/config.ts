import type { ListenAddress, RoutingTable } from '../port.ts';
import { backendLines } from './config-backend.ts';
import { connectionLines, requestLines } from './config-frontend.ts';
import { LIMITS } from './limits.ts';
import { addressOf, FRONTEND } from './names.ts';
import type { ProcessFiles } from './records.ts';
import { quoted } from './text.ts';

/**
 * HAProxy's configuration for the services of one address. The first request already finds its routes; what changes
 * later in their servers goes by the runtime API. Without `servers` it is what a change needs a new process for.
 */
export function haproxyConfig(
  listen: ListenAddress,
  tables: RoutingTable[],
  files: ProcessFiles,
  servers = true,
): string {
  const sorted = [...tables].sort((a, b) => (a.service < b.service ? -1 : 1));
  const tcp = sorted.some(({ traffic }) => traffic.mode === 'tcp');
  const longest = (time: (table: RoutingTable) => number) => Math.max(...sorted.map(time));
  return `# made by unideploy
global
  # two processes would share a port unnoticed
  noreuseport
  stats socket ${quoted(files.socket)} mode 600 level admin expose-fd listeners
  # every drain asks on its own
  stats maxconn 200
  lua-load ${quoted(files.script)}
  tune.bufsize ${bufferSize(longest(({ traffic }) => traffic.limits.head))}
  # the pipe to the controller: a line that it does not take is left out, never waited for
  log fd@3 len ${LIMITS.line} format raw local0 debug

defaults
  mode ${tcp ? 'tcp' : 'http'}
  log global
  timeout connect 5s
  timeout client ${longest(({ traffic }) => traffic.timeouts.body)}
  timeout http-request ${longest(({ traffic }) => traffic.timeouts.head)}
  timeout http-keep-alive ${longest(({ traffic }) => traffic.timeouts.idle)}
  timeout server 60s
  timeout tunnel ${LIMITS.tunnel}
  option abortonclose
${tcp ? '' : HTTP_OPTIONS}  retries ${LIMITS.retries}
  option redispatch 1

frontend ${FRONTEND}
  bind ${addressOf(listen.host, listen.port)} backlog 4096${bindTls(sorted, files, tcp)}
${indented(tcp ? connectionLines(sorted) : requestLines(sorted, files))}
${sorted.flatMap((table) => backendLines(table, files, servers)).join('\n')}
`;
}

/**
 * Without `http-no-delay` an event waits 200 ms for the next one. Who has closed its sending side has gone, as for the
 * embedded engine: an instance that does not close in turn is not waited for.
 */
const HTTP_OPTIONS = `  option idle-close-on-response
  option http-no-delay
  timeout client-fin 1s
  timeout server-fin 1s
`;

/** A head has to fit beside what HAProxy keeps for rewriting; it answers one that does not with 400. */
function bufferSize(head: number): number {
  return Math.max(16_384, head + 8_192);
}

function bindTls(tables: RoutingTable[], files: ProcessFiles, tcp: boolean): string {
  if (!tables.some(({ traffic }) => traffic.tls !== null)) return '';
  return ` ssl crt-list ${quoted(files.certificates)}${tcp ? '' : ' alpn h2,http/1.1'}`;
}

function indented(lines: string[]): string {
  return lines.map((line) => `  ${line}\n`).join('');
}
