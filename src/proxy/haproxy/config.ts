import type { RoutingTable } from '../port.ts';
import { LIMITS } from './limits.ts';
import { addressOf, FRONTEND, serverName } from './names.ts';

export interface ConfigFiles {
  /** the runtime API's unix socket */
  socket: string;
  /** the hold's Lua script */
  script: string;
}

/** A server as the configuration and `add server` describe it. */
interface ServerLine {
  name: string;
  address: string;
  weight: number;
}

/** HAProxy's configuration for a table: the first request already finds its routes; what changes later goes by the runtime API. */
export function haproxyConfig(table: RoutingTable, { socket, script }: ConfigFiles): string {
  const servers = serversOf(table).map(
    ({ name, address, weight }) => `  server ${name} ${address} ${CHECKS} weight ${weight}`,
  );
  return `# made by unideploy for the service ${JSON.stringify(table.service)}
global
  # two processes would share a port unnoticed
  noreuseport
  stats socket ${quoted(socket)} mode 600 level admin
  # every drain asks on its own
  stats maxconn 200
  lua-load ${quoted(script)} ${isClosed(table) ? 'closed' : 'open'}

defaults
  mode http
  timeout connect ${LIMITS.connect}
  timeout client ${LIMITS.clientIdle}
  timeout http-request ${LIMITS.clientHead}
  timeout http-keep-alive ${LIMITS.clientIdle}
  timeout server ${LIMITS.response}
  timeout queue ${LIMITS.hold}
  timeout tunnel ${LIMITS.tunnel}
  option idle-close-on-response
  option abortonclose
  retries ${LIMITS.retries}
  option redispatch 1

frontend ${FRONTEND}
  bind ${addressOf(table.listen.host, table.listen.port)} backlog 4096
  option forwardfor
  ${ownAnswer(502, 'no-instance', 'no instance could be reached')}
  ${ownAnswer(503, 'no-instance', 'no instance took the request')}
  ${ownAnswer(504, 'response-timeout', 'the instance did not answer in time')}
  http-request deny deny_status 405 if METH_TRACE
  http-request set-header X-Forwarded-Proto http unless { req.hdr(X-Forwarded-Proto) -m found }
  http-request set-header X-Forwarded-Host %[req.hdr(Host)] unless { req.hdr(X-Forwarded-Host) -m found }
  http-request set-header X-Request-Id %[uuid()] unless { req.hdr(X-Request-Id) -m found }
  acl safe method GET HEAD OPTIONS
  acl body req.hdr(Content-Length) -m found
  acl body req.hdr(Transfer-Encoding) -m found
  http-request lua.hold reads if safe !body { nbsrv(reads) eq 0 }
  http-request lua.hold writes if !safe { nbsrv(writes) eq 0 } or body { nbsrv(writes) eq 0 }
  use_backend reads if safe !body
  default_backend writes

backend reads
  balance roundrobin
  retry-on conn-failure empty-response
${servers.join('\n')}

backend writes
  balance roundrobin
  option http-server-close
  http-reuse never
  retry-on conn-failure
${servers.join('\n')}
`;
}

/** The servers of a table's routes: while it holds, none takes requests. */
export function serversOf(table: Pick<RoutingTable, 'routes' | 'hold'>): ServerLine[] {
  return table.routes.map((route) => ({
    name: serverName(route),
    address: addressOf(route.host, route.port),
    weight: table.hold ? 0 : route.weight,
  }));
}

/** Whether requests are refused, since nothing is there to wait for. */
export function isClosed({ hold, routes }: RoutingTable): boolean {
  return !hold && routes.length === 0;
}

/**
 * A refused connection takes a server out until a connection succeeds again. The pool's bounds are HAProxy's defaults,
 * which 2.6 forgets for servers that are added at run time: they would keep no connection.
 */
export const CHECKS = `check inter 2s downinter ${LIMITS.eject} fastinter ${LIMITS.eject} rise 1 fall 2 observe layer4 error-limit 1 on-error mark-down pool-max-conn -1 pool-purge-delay 5s`;

function ownAnswer(status: number, reason: string, message: string): string {
  const retryAfter = status === 503 ? ' hdr Retry-After 1' : '';
  return `http-error status ${status} content-type text/plain string "${message}\\n" hdr X-Unideploy-Proxy ${reason}${retryAfter}`;
}

function quoted(path: string): string {
  return `'${path.replaceAll("'", "'\\''")}'`;
}
