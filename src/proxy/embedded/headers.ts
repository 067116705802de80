import { randomUUID } from 'node:crypto';
import type { AnswerHead } from './downstream.ts';
import type { Fields } from './http1/llhttp.ts';
import type { Refusal } from './refusal.ts';

/** A request as its client sent it, by whatever protocol. */
export interface ClientRequest {
  method: string;
  target: string;
  /** 10, 11 or 20 */
  version: number;
  fields: Fields;
  /** address of the client */
  remote: string;
  encrypted: boolean;
}

/** What of a client's request goes on to an instance. */
export interface RequestHead {
  method: string;
  path: string;
  /** without its port, in lower case; empty where there is none */
  host: string;
  /** header lines, each with its line end; all but cookies and those that say how the body is sent */
  lines: string;
  cookie: string | undefined;
  /** bytes of the body: undefined where there is none, null where its end will tell */
  length: number | null | undefined;
  expectsContinue: boolean;
  webSocket: boolean;
  id: string;
}

/**
 * Reads the head of a request: strips what belongs to the client's connection, adds the forwarding headers, and refuses
 * what two servers could read in two ways (request smuggling) and the parser lets pass.
 */
export function requestHead(request: ClientRequest): RequestHead | Refusal {
  const { method, fields, remote, encrypted } = request;
  if (method === 'TRACE' || method === 'CONNECT')
    return { status: 405, reason: 'method', message: `${method} is not served`, close: true };
  const proto = encrypted ? 'https' : 'http';
  let lines = '';
  let host: string | undefined;
  let cookie: string | undefined;
  let length: string | undefined;
  let coding: string | undefined;
  let expect: string | undefined;
  let upgrade: string | undefined;
  let named: Set<string> | undefined;
  let forwardedFor = '';
  let forwarded = '';
  let forwardedProto = false;
  let forwardedHost = false;
  let id: string | undefined;
  for (let i = 0; i < fields.count; i++) {
    const name = fields.name(i);
    const value = fields.value(i);
    switch (KNOWN.get(name.toLowerCase())) {
      case undefined:
        if (name.includes('_') && LOOKALIKES.has(name.toLowerCase().replaceAll('_', '-')))
          return bad(`the header ${name} can be taken for ${name.toLowerCase().replaceAll('_', '-')}`);
        break;
      case 'host':
        if (host !== undefined) return bad('more than one Host header');
        host = value;
        break;
      case 'cookie':
        cookie = cookie === undefined ? value : `${cookie}; ${value}`;
        continue;
      case 'content-length':
        if (length !== undefined && length !== value) return bad('more than one Content-Length header');
        length = value;
        continue;
      case 'transfer-encoding':
        coding = coding === undefined ? value : `${coding}, ${value}`;
        continue;
      case 'connection':
        named = connectionNames(value, named);
        continue;
      case 'upgrade':
        upgrade = value;
        continue;
      case 'expect':
        expect = value;
        continue;
      case 'x-forwarded-for':
        forwardedFor += `${value}, `;
        continue;
      case 'forwarded':
        forwarded += `${value}, `;
        continue;
      case 'x-forwarded-proto':
        forwardedProto = true;
        break;
      case 'x-forwarded-host':
        forwardedHost = true;
        break;
      case 'x-request-id':
        id ??= value;
        continue;
      default:
        continue;
    }
    lines += `${name}: ${value}\r\n`;
  }
  if (host === undefined && request.version > 10) return bad('no Host header');
  if (host !== undefined && host !== '' && !HOST.test(host)) return bad('the Host header is not a host');
  const path = requestPath(request.target, host, proto);
  if (path === undefined) return bad('the request target is not a path on this host');
  if (named !== undefined) {
    if (named.has('content-length') || named.has('transfer-encoding') || named.has('host'))
      return bad('the Connection header names a header that the message needs');
    lines = withoutLines(lines, named);
  }
  if (coding !== undefined) {
    if (request.version === 10) return bad('Transfer-Encoding in an HTTP/1.0 request');
    if (coding.toLowerCase() !== 'chunked') return bad('a Transfer-Encoding other than chunked');
  }
  if (length !== undefined && !LENGTH.test(length)) return bad('the Content-Length is not a length');

  // instances are asked in HTTP/1.1, which wants one
  if (host === undefined) lines += 'Host: \r\n';
  lines += `X-Forwarded-For: ${forwardedFor}${remote}\r\n`;
  if (!forwardedProto) lines += `X-Forwarded-Proto: ${proto}\r\n`;
  if (!forwardedHost && host) lines += `X-Forwarded-Host: ${host}\r\n`;
  const by = remote.includes(':') ? `"[${remote}]"` : remote;
  lines += `Forwarded: ${forwarded}for=${by}${host ? `;host="${host}"` : ''};proto=${proto}\r\n`;
  if (id === undefined || !REQUEST_ID.test(id)) id = randomUUID();
  lines += `X-Request-Id: ${id}\r\n`;
  return {
    method,
    path,
    host: hostName(host ?? ''),
    lines,
    cookie,
    length: coding !== undefined ? null : length === undefined ? undefined : Number(length),
    expectsContinue: expect?.toLowerCase() === '100-continue',
    webSocket: method === 'GET' && upgrade?.toLowerCase() === 'websocket',
    id,
  };
}

/** Visits the headers of an answer that go on to the client, ours last. */
export function eachHeader(answer: AnswerHead, visit: (name: string, value: string) => void): void {
  const { fields, dropped, added } = answer;
  for (let i = 0; i < fields.count; i++) {
    const name = fields.name(i);
    const lower = name.toLowerCase();
    if (CONNECTION_ONLY.has(lower) || (dropped?.has(lower) && lower !== 'content-length')) continue;
    visit(name, fields.value(i));
  }
  for (const [name, value] of added) visit(name, value);
}

/** Trailers that may follow an answer: never those that would change how the message is read. */
export function trailersOf(fields: Fields | undefined): [string, string][] {
  const trailers: [string, string][] = [];
  for (let i = 0; i < (fields?.count ?? 0); i++) {
    const name = fields?.name(i) ?? '';
    const lower = name.toLowerCase();
    if (!CONNECTION_ONLY.has(lower) && !LOOKALIKES.has(lower)) trailers.push([name, fields?.value(i) ?? '']);
  }
  return trailers;
}

/** The headers that a Connection header names, beyond the usual ones. */
export function connectionNames(value: string, into?: Set<string>): Set<string> | undefined {
  if (value === 'keep-alive' || value === 'close') return into;
  let names = into;
  for (const part of value.split(',')) {
    const name = part.trim().toLowerCase();
    if (name === '' || name === 'keep-alive' || name === 'close' || name === 'upgrade') continue;
    names ??= new Set();
    names.add(name);
  }
  return names;
}

/** The path of a request target; undefined for what is no path on the host that the Host header names. */
function requestPath(target: string, host: string | undefined, proto: string): string | undefined {
  if (target.includes('#')) return undefined;
  if (target.startsWith('/')) return target;
  const absolute = /^(https?):\/\/([^/?]*)(.*)$/i.exec(target);
  if (!absolute || absolute[1]?.toLowerCase() !== proto) return undefined;
  if (host === undefined || absolute[2]?.toLowerCase() !== host.toLowerCase()) return undefined;
  const rest = absolute[3] ?? '';
  return rest.startsWith('/') ? rest : `/${rest}`;
}

function hostName(host: string): string {
  return host.replace(/:\d*$/, '').toLowerCase();
}

/** Lines without those of the headers named; they were written here, so each is one header. */
function withoutLines(lines: string, names: ReadonlySet<string>): string {
  return lines
    .split('\r\n')
    .filter((line) => line !== '' && !names.has(line.slice(0, line.indexOf(':')).toLowerCase()))
    .map((line) => `${line}\r\n`)
    .join('');
}

function bad(message: string): Refusal {
  return { status: 400, reason: 'bad-request', message: `request refused: ${message}`, close: true };
}

const CONNECTION_ONLY = new Set([
  'connection',
  'http2-settings',
  'keep-alive',
  'proxy-connection',
  'proxy-authenticate',
  'proxy-authorization',
  'te',
  'transfer-encoding',
  'upgrade',
]);

/** Request headers that are looked at; those without a case of their own do not go on. */
const KNOWN = new Map(
  [
    ...CONNECTION_ONLY,
    'host',
    'cookie',
    'content-length',
    'expect',
    'trailer',
    'x-forwarded-for',
    'x-forwarded-proto',
    'x-forwarded-host',
    'forwarded',
    'x-request-id',
  ].map((name) => [name, name]),
);

/** Some servers (CGI and its heirs) take `Content_Length` for `Content-Length`. */
const LOOKALIKES = new Set([
  'connection',
  'content-length',
  'expect',
  'forwarded',
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
const LENGTH = /^\d{1,15}$/;
const REQUEST_ID = /^[\w.:+/=@-]{1,128}$/;
