import { describe, expect, test } from 'vitest';
import { bodyOf } from '../../../support/http/backend.ts';
import { ENGINES, sharedStage } from '../engines.ts';
import { backend, route } from '../scene.ts';
import { headOf } from './wire.ts';

const POST = 'POST / HTTP/1.1\r\nHost: a\r\n';
const CHUNKED = `${POST}Transfer-Encoding: chunked\r\n\r\n`;
const SMUGGLED = 'GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n';

/** Requests that two servers could read in two ways, or that are not for this one. */
const REFUSED: Record<string, string> = {
  'a length and chunks': `${POST}Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n${SMUGGLED}`,
  'chunks and a length': `${POST}Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n${SMUGGLED}`,
  'two lengths': `${POST}Content-Length: 0\r\nContent-Length: ${SMUGGLED.length}\r\n\r\n${SMUGGLED}`,
  'a list of lengths': `${POST}Content-Length: 0, ${SMUGGLED.length}\r\n\r\n${SMUGGLED}`,
  'a signed length': `${POST}Content-Length: +3\r\n\r\nabc`,
  'a negative length': `${POST}Content-Length: -3\r\n\r\nabc`,
  'a length in hexadecimal': `${POST}Content-Length: 0x3\r\n\r\nabc`,
  'a length that is too long': `${POST}Content-Length: 99999999999999999999\r\n\r\nabc`,
  'no length': `${POST}Content-Length: \r\n\r\nabc`,
  'a coding before chunked': `${POST}Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n`,
  'a coding after chunked': `${POST}Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n`,
  'another coding': `${POST}Transfer-Encoding: gzip\r\n\r\n0\r\n\r\n`,
  'chunked twice': `${POST}Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`,
  'chunked in HTTP/1.0': 'POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n',
  'a bad chunk size': `${CHUNKED}zz\r\n\r\n0\r\n\r\n`,
  'a signed chunk size': `${CHUNKED}+1\r\na\r\n0\r\n\r\n`,
  'a chunk longer than its size': `${CHUNKED}1\r\nab\r\n0\r\n\r\n`,
  'a chunk size that is too long': `${CHUNKED}fffffffffffffffff\r\na\r\n0\r\n\r\n`,
  'a folded header': `${POST}X: 1\r\n Content-Length: 3\r\n\r\n`,
  'a bare line feed': 'GET / HTTP/1.1\nHost: a\n\n',
  'a bare line feed between headers': 'GET / HTTP/1.1\r\nHost: a\nX: 1\r\n\r\n',
  'a bare carriage return': 'GET / HTTP/1.1\r\nHost: a\r\nX: 1\rContent-Length: 3\r\n\r\n',
  'a space before the colon': `${POST}Content-Length : 3\r\n\r\nabc`,
  'a space before the name': `GET / HTTP/1.1\r\n Host: a\r\n\r\n`,
  'a NUL in a value': 'GET / HTTP/1.1\r\nHost: a\r\nX: 1\0\r\n\r\n',
  'a NUL in a name': 'GET / HTTP/1.1\r\nHost: a\r\nX\0: 1\r\n\r\n',
  'a header without a name': 'GET / HTTP/1.1\r\nHost: a\r\n: 1\r\n\r\n',
  'an underscored length': `${POST}Content_Length: 3\r\n\r\nabc`,
  'an underscored coding': `${POST}Transfer_Encoding: chunked\r\n\r\n0\r\n\r\n`,
  'an underscored address': 'GET / HTTP/1.1\r\nHost: a\r\nX_Forwarded_For: 10.0.0.1\r\n\r\n',
  'a Connection header that names the length': `${POST}Connection: content-length\r\nContent-Length: 3\r\n\r\nabc`,
  'a target of another host': 'GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n',
  'a target of another scheme': 'GET https://a/ HTTP/1.1\r\nHost: a\r\n\r\n',
  'a target with a user': 'GET http://b@a/ HTTP/1.1\r\nHost: a\r\n\r\n',
  'a fragment': 'GET /#x HTTP/1.1\r\nHost: a\r\n\r\n',
  'no path': 'OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n',
  'two hosts': 'GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n',
  'no host': 'GET / HTTP/1.1\r\n\r\n',
  'a host with a path': 'GET / HTTP/1.1\r\nHost: a/b\r\n\r\n',
  'a list of hosts': 'GET / HTTP/1.1\r\nHost: a, b\r\n\r\n',
  'a method that is none': 'GE(T / HTTP/1.1\r\nHost: a\r\n\r\n',
  'what is no HTTP': '\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n',
};

/**
 * What an engine answers instead of 400. HAProxy makes some requests well formed, as RFC 9112 lets it: the instance hears
 * one request, in one reading, and nothing of what is hidden in it.
 */
const OTHERWISE: Record<string, Record<string, number>> = {
  embedded: {},
  haproxy: {
    'a length and chunks': 200,
    'chunks and a length': 200,
    'a coding before chunked': 422,
    'a folded header': 200,
    'a bare line feed': 200,
    'a bare line feed between headers': 200,
    'a target with a user': 200,
  },
};

describe.each(ENGINES)('$engine', { timeout: 60_000 }, ({ engine, open }) => {
  const at = sharedStage(open);

  test('what two servers could read in two ways is refused with 400, and no instance hears of it', async () => {
    const heard: string[] = [];
    const app = await backend(async (req, res) => {
      // a body that turns out bad late is broken off: only whole requests count
      const body = await bodyOf(req).catch(() => undefined);
      if (body === undefined) return;
      heard.push(`${req.method} ${req.url} ${body}`);
      res.end('heard');
    });
    await at().apply({ routes: [route('a', app)] });
    const answers: Record<string, number> = {};
    for (const [what, request] of Object.entries(REFUSED))
      answers[what] = Number((await headOf(at().port(), request)).slice(9, 12));
    const refused = Object.fromEntries(Object.keys(REFUSED).map((what) => [what, 400]));
    expect(answers).toEqual({ ...refused, ...OTHERWISE[engine] });
    const passed = Object.values(answers).filter((status) => status === 200);
    expect(heard).toHaveLength(passed.length);
    for (const request of heard) expect(request).toMatch(/^(GET|POST) \/ $/);
  });

  test('TRACE and CONNECT are refused with 405', async () => {
    const app = await backend('1');
    await at().apply({ routes: [route('a', app)] });
    for (const request of [
      'TRACE / HTTP/1.1\r\nHost: a\r\n\r\n',
      'CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n',
    ]) {
      const answer = await headOf(at().port(), request);
      expect(answer).toMatch(/^HTTP\/1\.1 405 /);
      expect(answer).toMatch(/x-unideploy-proxy: method/i);
    }
    expect(app.requests).toBe(0);
  });

  test('a refusal says who refused and why, and is counted', async () => {
    await at().apply({ routes: [route('a', await backend('1'))] });
    const answer = await headOf(at().port(), 'GET / HTTP/1.1\r\nHost: a/b\r\n\r\n');
    expect(answer).toMatch(/x-unideploy-proxy: bad-request/i);
    expect(answer).toContain('the Host header is not a host');
    // HAProxy has read the whole request, and trusts what follows; it refused before it asked whose request it is
    if (engine === 'haproxy') return;
    expect(answer).toMatch(/\r\nconnection: close\r\n/i);
    expect(await at().status()).toMatchObject({ requests: 1, failures: 1, refused: { 'bad-request': 1 } });
  });
});
