import { describe, expect, test } from 'vitest';
import { ENGINES, sharedStage } from '../engines.ts';
import { backend, route } from '../scene.ts';
import { answering, answerTo, bareInstance } from './wire.ts';

describe.each(ENGINES)('$engine', { timeout: 60_000 }, ({ engine, open }) => {
  const at = sharedStage(open);

  /** The headers that an instance gets of a request with these; names in lower case. */
  async function heard(lines: string[], requestLine = 'GET /x HTTP/1.1'): Promise<Record<string, string>> {
    const app = await backend((req, res) => res.end(JSON.stringify(req.rawHeaders)));
    await at().apply({ routes: [route('a', app)] });
    const request = [requestLine, ...lines, '', ''].join('\r\n');
    const answer = await answerTo(at().port(), request.replace('\r\n', '\r\nConnection: close\r\n'));
    const raw = JSON.parse(/\[.*\]/s.exec(answer)?.[0] ?? '[]') as string[];
    const headers: Record<string, string> = {};
    for (let i = 0; i < raw.length; i += 2) {
      const name = String(raw[i]).toLowerCase();
      headers[name] = headers[name] === undefined ? String(raw[i + 1]) : `${headers[name]}, ${raw[i + 1]}`;
    }
    return headers;
  }

  test('an instance is told who asked, how, and for which host', async () => {
    expect(await heard(['Host: shop.test:8080'])).toMatchObject({
      host: 'shop.test:8080',
      'x-forwarded-for': '127.0.0.1',
      'x-forwarded-proto': 'http',
      'x-forwarded-host': 'shop.test:8080',
      forwarded: 'for=127.0.0.1;host="shop.test:8080";proto=http',
    });
  });

  test('what a proxy before this one has said is kept, and added to', async () => {
    expect(
      await heard([
        'Host: shop.test',
        'X-Forwarded-For: 10.0.0.1, 10.0.0.2',
        'X-Forwarded-Proto: https',
        'X-Forwarded-Host: www.shop.test',
        'Forwarded: for=10.0.0.1;proto=https',
      ]),
    ).toMatchObject({
      'x-forwarded-for': '10.0.0.1, 10.0.0.2, 127.0.0.1',
      'x-forwarded-proto': 'https',
      'x-forwarded-host': 'www.shop.test',
      forwarded: 'for=10.0.0.1;proto=https, for=127.0.0.1;host="shop.test";proto=http',
    });
  });

  test('a request has an id: the one it came with, unless that is none', async () => {
    expect(await heard(['Host: a', 'X-Request-Id: mine-1'])).toMatchObject({ 'x-request-id': 'mine-1' });
    const made = [];
    for (const id of [[], ['X-Request-Id: two words'], [`X-Request-Id: ${'x'.repeat(200)}`]])
      made.push((await heard(['Host: a', ...id]))['x-request-id']);
    for (const id of made) expect(id).toMatch(/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/);
    expect(new Set(made).size).toBe(3);
  });

  test('what is meant for the connection alone does not go on, what Connection names included', async () => {
    const headers = await heard([
      'Host: a',
      'Connection: X-Secret, x-other',
      'X-Secret: 1',
      'X-Other: 2',
      'Keep-Alive: timeout=5',
      'Proxy-Connection: keep-alive',
      'Proxy-Authorization: Basic eA==',
      'TE: trailers',
      'Authorization: Basic eA==',
      'X-Fine_Name: yes',
    ]);
    expect(
      Object.keys(headers)
        .filter((name) => name !== 'connection')
        .sort(),
    ).toEqual(
      [
        ...['authorization', 'forwarded', 'host', 'x-fine_name', 'x-forwarded-for', 'x-forwarded-host'],
        ...['x-forwarded-proto', 'x-request-id'],
      ].sort(),
    );
    expect(headers.connection ?? 'keep-alive').toMatch(/^(keep-alive|close)$/i);
  });

  test('what is meant for the proxy alone does not come back, what Connection names included', async () => {
    const app = await answering(
      [
        'HTTP/1.1 200 OK',
        'Connection: keep-alive, X-Inner',
        'X-Inner: 1',
        'Keep-Alive: timeout=5',
        'Proxy-Authenticate: Basic',
        'X-Outer: 2',
        'Set-Cookie: a=1',
        'Set-Cookie: b=2',
        'Content-Length: 2',
        '',
        'ok',
      ].join('\r\n'),
    );
    await at().apply({ routes: [route('a', app)] });
    const answer = await fetch(at().url());
    expect(await answer.text()).toBe('ok');
    for (const name of ['x-inner', 'proxy-authenticate']) expect(answer.headers.has(name)).toBe(false);
    expect(answer.headers.get('keep-alive')).toBeNull();
    expect(answer.headers.get('x-outer')).toBe('2');
    expect(answer.headers.getSetCookie()).toEqual(['a=1', 'b=2']);
  });

  test('a target with the host in it reaches the instance as a path', async () => {
    const app = await bareInstance(({ socket }) => {
      socket.once('data', (head) => {
        const line = String(head).split('\r\n')[0] ?? '';
        socket.end(`HTTP/1.1 200 OK\r\nContent-Length: ${line.length}\r\n\r\n${line}`);
      });
    });
    await at().apply({ routes: [route('a', app)] });
    for (const [target, path] of [
      ['http://shop.test/x?y=1', '/x?y=1'],
      ['http://SHOP.test', '/'],
      ['/%2e%2e//x', '/%2e%2e//x'],
    ]) {
      const answer = await answerTo(
        at().port(),
        `GET ${target} HTTP/1.1\r\nHost: shop.test\r\nConnection: close\r\n\r\n`,
      );
      expect(answer).toContain(`GET ${path} HTTP/1.1`);
    }
  });

  test('an offer of another protocol than WebSocket is served as a plain request', async () => {
    const headers = await heard(['Host: a', 'Upgrade: h2c', 'HTTP2-Settings: AAA']);
    // HAProxy leaves it to the instance to take no notice
    if (engine === 'embedded')
      for (const name of ['upgrade', 'http2-settings']) expect(headers).not.toHaveProperty(name);
    expect(headers.host).toBe('a');
  });
});
