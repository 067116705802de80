import { answer } from './text.ts';

/** Refuses what two servers could read in two ways, as the embedded data plane does, where HAProxy lets it be seen. */
export function refusalLines(tls: boolean): string[] {
  const refuse = (message: string, condition: string) =>
    `http-request deny ${answer(400, 'bad-request', `request refused: ${message}`)} if ${condition}`;
  const host = String.raw`^((\[[0-9a-f:.]+\]|[a-z0-9._~-]+)(:[0-9]{1,5})?)?$`;
  return [
    `http-request deny ${answer(405, 'method', 'TRACE is not served')} if METH_TRACE`,
    `http-request deny ${answer(405, 'method', 'CONNECT is not served')} if METH_CONNECT`,
    refuse('no Host header', '{ req.ver 1.1 } !{ req.fhdr(host) -m found }'),
    refuse(
      'the Host header is not a host',
      `{ req.fhdr(host) -m found } !{ req.fhdr(host) -m reg -i -- '${host}' }`,
    ),
    refuse(
      'the request target is not a path on this host',
      `{ url -m str * } or { url -m beg -i ${tls ? 'http' : 'https'}:// }`,
    ),
    refuse(
      'Transfer-Encoding in an HTTP/1.0 request',
      '{ req.ver 1.0 } { req.fhdr(transfer-encoding) -m found }',
    ),
    refuse(
      'a header can be taken for another',
      `{ req.hdr_names -m sub _ } { req.hdr_names -m reg -i -- '(^|,)(${LOOKALIKES.join('|')})(,|$)' }`,
    ),
    `http-request lua.named_request if { req.fhdr(connection) -m found } !{ req.fhdr(connection) -i upgrade }`,
    ...CONNECTION_ONLY.map((name) => `http-request del-header ${name}`),
    'http-response lua.named_response if { res.fhdr(connection) -m found } !{ res.fhdr(connection) -i upgrade }',
    ...CONNECTION_ONLY.map((name) => `http-response del-header ${name}`),
    // an absolute target: HAProxy has compared its host with the header
    'acl absolute url -m beg -i http:// https://',
    'http-request set-uri /%[pathq] if absolute !{ path -m beg / }',
    'http-request set-uri %[pathq] if absolute',
  ];
}

/** What instances are told of the client. */
export function forwardingLines(tls: boolean): string[] {
  const proto = tls ? 'https' : 'http';
  const quotedFor = '"for=\\"[%[src]]\\";host=\\"%[req.fhdr(host)]\\";proto=';
  return [
    'option forwardfor',
    `http-request set-header X-Forwarded-Proto ${proto} unless { req.fhdr(x-forwarded-proto) -m found }`,
    'http-request set-header X-Forwarded-Host %[req.fhdr(host)] unless { req.fhdr(x-forwarded-host) -m found }',
    `http-request add-header Forwarded "for=%[src];host=\\"%[req.fhdr(host)]\\";proto=${proto}" if { src 0.0.0.0/0 }`,
    `http-request add-header Forwarded ${quotedFor}${proto}" if { src ::/0 } !{ src 0.0.0.0/0 }`,
    `http-request set-header X-Request-Id %[uuid()] unless { req.fhdr(x-request-id) -m reg -- '^[A-Za-z0-9_.:+/=@-]{1,128}$' }`,
  ];
}

/** Some servers (CGI and its heirs) take `Content_Length` for `Content-Length`. */
const LOOKALIKES = [
  'content_length',
  'transfer_encoding',
  'x(_forwarded[_-]|-forwarded_)(for|host|proto)',
  'x(_request[_-]|-request_)id',
];

const CONNECTION_ONLY = ['Keep-Alive', 'Proxy-Connection', 'Proxy-Authenticate', 'Proxy-Authorization', 'TE'];
