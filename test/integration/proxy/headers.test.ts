import { expect, test } from 'vitest';
import { backend, openWire, route, scene, until } from './scene.ts';

async function answerTo(request: string): Promise<{ answer: string; requests: number }> {
  const proxy = scene();
  const app = await backend((req, res) => {
    req.resume().once('end', () => res.end(JSON.stringify(req.rawHeaders)));
  });
  await proxy.apply({ routes: [route('a', app)] });
  const wire = await openWire(proxy.port);
  wire.socket.write(request);
  await until('an answer', () => /\r\n\r\n[\s\S]+/.test(wire.received()));
  return { answer: wire.received(), requests: app.requests };
}

test.each([
  [
    'both lengths',
    'POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n',
  ],
  ['two lengths', 'POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd'],
  [
    'a coding before chunked',
    'POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n',
  ],
  ['chunked in HTTP/1.0', 'POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n'],
  ['a target of another host', 'GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n'],
  ['a fragment', 'GET /#x HTTP/1.1\r\nHost: a\r\n\r\n'],
  ['no path', 'OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n'],
  ['an underscored length', 'POST / HTTP/1.1\r\nHost: a\r\nContent_Length: 3\r\n\r\n'],
  ['an underscored coding', 'POST / HTTP/1.1\r\nHost: a\r\nTransfer_Encoding: chunked\r\n\r\n'],
  ['two hosts', 'GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n'],
  ['a host with a path', 'GET / HTTP/1.1\r\nHost: a/b\r\n\r\n'],
  [
    'a Connection header that names the length',
    'POST / HTTP/1.1\r\nHost: a\r\nConnection: content-length\r\nContent-Length: 1\r\n\r\nx',
  ],
  ['a bare line feed', 'GET / HTTP/1.1\nHost: a\n\n'],
  ['a folded header', 'GET / HTTP/1.1\r\nHost: a\r\nX: 1\r\n 2\r\n\r\n'],
])('refuses %s with 400, and no instance hears of it', async (_what, request) => {
  const { answer, requests } = await answerTo(request);
  expect(answer).toMatch(/^HTTP\/1\.1 400 /);
  expect(answer).toMatch(/X-Unideploy-Proxy: bad-request/);
  expect(answer).toMatch(/Connection: close/);
  expect(requests).toBe(0);
});

test('refuses TRACE and CONNECT with 405', async () => {
  for (const request of ['TRACE / HTTP/1.1\r\nHost: a\r\n\r\n', 'CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n']) {
    const { answer, requests } = await answerTo(request);
    expect(answer).toMatch(/^HTTP\/1\.1 405 /);
    expect(requests).toBe(0);
  }
});

test('strips what belongs to the connection, and says who asked', async () => {
  const { answer } = await answerTo(
    [
      'GET http://a/ HTTP/1.1',
      'Host: a',
      'Connection: keep-alive, X-Secret',
      'X-Secret: 1',
      'Keep-Alive: timeout=5',
      'Proxy-Connection: keep-alive',
      'TE: trailers',
      'X-Forwarded-For: 10.0.0.9',
      'X-Request-Id: kept-1',
      'X-Fine_Name: yes',
      '\r\n',
    ].join('\r\n'),
  );
  const raw: string[] = JSON.parse(
    answer.slice(answer.indexOf('[', answer.indexOf('\r\n\r\n'))).replace(/\].*$/s, ']'),
  );
  const headers = Object.fromEntries(
    raw.flatMap((name, i) => (i % 2 === 0 ? [[name.toLowerCase(), raw[i + 1]]] : [])),
  );
  expect(headers).toEqual({
    host: 'a',
    forwarded: 'for=127.0.0.1;host="a";proto=http',
    'x-forwarded-for': '10.0.0.9, 127.0.0.1',
    'x-forwarded-proto': 'http',
    'x-forwarded-host': 'a',
    'x-request-id': 'kept-1',
    'x-fine_name': 'yes',
  });
});

test('strips what belongs to the instance’s connection from its answer', async () => {
  const proxy = scene();
  const app = await backend((_req, res) => {
    res.writeHead(200, [
      ['Connection', 'close, X-Inner'],
      ['X-Inner', '1'],
      ['Set-Cookie', 'a=1'],
      ['Set-Cookie', 'b=2'],
      ['Content-Length', '2'],
    ] as unknown as string[]);
    res.end('ok');
  });
  await proxy.apply({ routes: [route('a', app)] });
  const answer = await fetch(proxy.url);
  expect(answer.headers.get('x-inner')).toBeNull();
  expect(answer.headers.get('connection')).toBeNull();
  expect(answer.headers.getSetCookie()).toEqual(['a=1', 'b=2']);
  expect(await answer.text()).toBe('ok');
});

test('a header that is too large is refused with 431', async () => {
  const { answer } = await answerTo(`GET / HTTP/1.1\r\nHost: a\r\nX: ${'x'.repeat(20_000)}\r\n\r\n`);
  expect(answer).toMatch(/^HTTP\/1\.1 431 /);
});
