import { randomUUID } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import type { Refusal } from './refusal.ts';

/** What of a client's request goes on to an instance. */
export interface RequestHead {
  path: string;
  /** names and values in turn */
  headers: string[];
  hasBody: boolean;
  expectsContinue: boolean;
}

/**
 * Reads the head of a request: strips what belongs to the client's connection, adds the forwarding headers, and refuses
 * what two servers could read in two ways (request smuggling) and node:http lets pass.
 */
export function requestHead(req: IncomingMessage): RequestHead | Refusal {
  if (req.method === 'TRACE')
    return { status: 405, reason: 'method', message: 'TRACE is not served', close: true };
  const { rawHeaders } = req;
  const named = connectionNames(req.headers.connection);
  if (named?.has('content-length') || named?.has('transfer-encoding') || named?.has('host'))
    return bad('the Connection header names a header that the message needs');

  const headers: string[] = [];
  let host: string | undefined;
  let forwardedFor = '';
  let proto = false;
  let forwardedHost = false;
  let requestId: string | undefined;
  for (let i = 0; i + 1 < rawHeaders.length; i += 2) {
    const raw = rawHeaders[i] as string;
    const value = rawHeaders[i + 1] as string;
    const name = raw.toLowerCase();
    if (name === 'host') {
      if (host !== undefined) return bad('more than one Host header');
      host = value;
    } else if (name === 'x-forwarded-for') {
      forwardedFor += `${value}, `;
      continue;
    } else if (name === 'x-request-id') {
      requestId ??= value;
      continue;
    } else if (
      CONNECTION_ONLY.has(name) ||
      name === 'content-length' ||
      name === 'expect' ||
      name === 'trailer'
    ) {
      continue;
    } else if (named?.has(name)) {
      continue;
    } else if (name.includes('_') && LOOKALIKES.has(name.replaceAll('_', '-'))) {
      return bad(`the header ${raw} can be taken for ${name.replaceAll('_', '-')}`);
    } else if (name === 'x-forwarded-proto') {
      proto = true;
    } else if (name === 'x-forwarded-host') {
      forwardedHost = true;
    }
    headers.push(raw, value);
  }

  if (host !== undefined && host !== '' && !HOST.test(host)) return bad('the Host header is not a host');
  const path = requestPath(req.url ?? '', host);
  if (path === undefined) return bad('the request target is not a path on this host');

  const coding = req.headers['transfer-encoding'];
  if (coding !== undefined) {
    if (req.httpVersion === '1.0') return bad('Transfer-Encoding in an HTTP/1.0 request');
    if (coding.trim().toLowerCase() !== 'chunked') return bad('a Transfer-Encoding other than chunked');
  }
  const length = req.headers['content-length'];
  const hasBody = coding !== undefined || (length !== undefined && Number(length) > 0);
  if (hasBody && length !== undefined) headers.push('Content-Length', length);

  headers.push('X-Forwarded-For', forwardedFor + (req.socket.remoteAddress ?? 'unknown'));
  if (!proto) headers.push('X-Forwarded-Proto', 'http');
  if (!forwardedHost && host) headers.push('X-Forwarded-Host', host);
  headers.push(
    'X-Request-Id',
    requestId !== undefined && REQUEST_ID.test(requestId) ? requestId : randomUUID(),
  );
  return { path, headers, hasBody, expectsContinue: req.headers.expect?.toLowerCase() === '100-continue' };
}

/** The headers of an instance's answer that go on to the client, names and values in turn. */
export function responseHeaders(raw: readonly Buffer[]): string[] {
  const headers: string[] = [];
  let named: Set<string> | undefined;
  for (let i = 0; i + 1 < raw.length; i += 2) {
    const name = (raw[i] as Buffer).toString('latin1');
    const value = (raw[i + 1] as Buffer).toString('latin1');
    const lower = name.toLowerCase();
    if (!CONNECTION_ONLY.has(lower)) headers.push(name, value);
    else if (lower === 'connection') named = connectionNames(value, named);
  }
  return named === undefined ? headers : without(headers, named);
}

/** Trailers that may follow an answer: never those that would change how the message is read. */
export function responseTrailers(raw: readonly Buffer[]): [string, string][] {
  const trailers: [string, string][] = [];
  for (let i = 0; i + 1 < raw.length; i += 2) {
    const name = (raw[i] as Buffer).toString('latin1');
    const lower = name.toLowerCase();
    if (CONNECTION_ONLY.has(lower) || LOOKALIKES.has(lower)) continue;
    trailers.push([name, (raw[i + 1] as Buffer).toString('latin1')]);
  }
  return trailers;
}

/** The headers that a Connection header names, beyond the usual two. */
function connectionNames(value: string | undefined, into?: Set<string>): Set<string> | undefined {
  if (value === undefined || value === 'keep-alive' || value === 'close') return into;
  let names = into;
  for (const part of value.split(',')) {
    const name = part.trim().toLowerCase();
    if (name === '' || name === 'keep-alive' || name === 'close' || name === 'upgrade') continue;
    names ??= new Set();
    names.add(name);
  }
  return names;
}

/** The path of a request target; `undefined` for what is no path on the host that the Host header names. */
function requestPath(target: string, host: string | undefined): string | undefined {
  if (target.includes('#')) return undefined;
  if (target.startsWith('/')) return target;
  const absolute = /^http:\/\/([^/?]*)(.*)$/i.exec(target);
  if (!absolute || host === undefined || absolute[1]?.toLowerCase() !== host.toLowerCase()) return undefined;
  const rest = absolute[2] ?? '';
  return rest.startsWith('/') ? rest : `/${rest}`;
}

function without(headers: string[], names: Set<string>): string[] {
  const kept: string[] = [];
  for (let i = 0; i + 1 < headers.length; i += 2) {
    const name = headers[i] as string;
    const lower = name.toLowerCase();
    if (!names.has(lower) || lower === 'content-length') kept.push(name, headers[i + 1] as string);
  }
  return kept;
}

function bad(message: string): Refusal {
  return { status: 400, reason: 'bad-request', message: `request refused: ${message}`, close: true };
}

const CONNECTION_ONLY = new Set([
  'connection',
  'keep-alive',
  'proxy-connection',
  'proxy-authenticate',
  'proxy-authorization',
  'te',
  'transfer-encoding',
  'upgrade',
]);

/** Some servers (CGI and its heirs) take `Content_Length` for `Content-Length`. */
const LOOKALIKES = new Set([
  'connection',
  'content-length',
  'expect',
  'host',
  'te',
  'transfer-encoding',
  'upgrade',
  'x-forwarded-for',
  'x-forwarded-host',
  'x-forwarded-proto',
  'x-request-id',
]);

const HOST = /^(\[[0-9a-f:.]+\]|[a-z0-9._~-]+)(:\d{1,5})?$/i;
const REQUEST_ID = /^[\w.:+/=@-]{1,128}$/;
