import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import type { ServerResponse } from 'node:http';
import { type AddressInfo, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect as connectTls } from 'node:tls';
import { promisify } from 'node:util';
import { describe, expect, onTestFinished, test } from 'vitest';
import { BALANCES, DEFAULT_TRAFFIC, type TrafficPolicy } from '../../../src/domain/traffic.ts';
import { startLoad } from '../../support/http/load.ts';
import { ENGINES, eventually, stage } from './engines.ts';
import { backend, openWire, route, until } from './scene.ts';

const traffic = (change: Partial<TrafficPolicy>): TrafficPolicy => ({ ...DEFAULT_TRAFFIC, ...change });

describe.each(ENGINES.filter(({ engine }) => engine === 'haproxy'))(
  '$engine',
  { timeout: 60_000 },
  ({ open }) => {
    describe('shares', () => {
      test.each(BALANCES.flatMap((balance) => [1, 5, 50, 99].map((weight) => ({ balance, weight }))))(
        '$weight per cent by $balance',
        async ({ balance, weight }) => {
          const { apply, url } = await stage(open);
          const [stable, canary] = [await backend('1'), await backend('2')];
          await apply({
            traffic: traffic({ balance }),
            routes: [
              route('stable', stable, { weight: 100 - weight }),
              route('canary', canary, { weight, revision: 2 }),
            ],
          });
          const load = startLoad({ url: url(), connections: 16 });
          await until('10,000 answers', () => load.ledger.ok >= 10_000, 50_000);
          const { revisions, ok, failures } = await load.stop();
          expect(failures).toEqual([]);
          expect(Math.abs(((revisions['2'] ?? 0) / ok) * 100 - weight)).toBeLessThan(0.1);
        },
      );

      test('the least busy of instances alike is chosen', async () => {
        const { apply, url } = await stage(open);
        const slow: ServerResponse[] = [];
        const app = await backend((_req, res) => void slow.push(res));
        await apply({ routes: [route('slow', app), route('quick', await backend('2'))] });
        const waiting = [fetch(url()), fetch(url())];
        await until('one hangs', () => slow.length === 1);
        const load = startLoad({ url: url(), connections: 1 });
        await until('answers', () => load.ledger.ok >= 200);
        expect((await load.stop()).failures).toEqual([]);
        expect(slow).toHaveLength(1);
        slow[0]?.end();
        await Promise.all(waiting);
      });
    });

    describe('sticky', () => {
      const sticky = traffic({ sticky: { cookie: 'stay' } });
      const cookieOf = (res: Response) => res.headers.get('set-cookie')?.split(';')[0] ?? '';

      test('a client stays while weights change, and goes on within its revision', async () => {
        const { apply, url } = await stage(open);
        const all = await Promise.all(['a', 'b', 'c'].map((name) => backend(name)));
        const [a, b, c] = all.map((each, i) =>
          route('abc'.charAt(i), each, { revision: i === 2 ? 2 : 1, weight: 50 }),
        ) as [ReturnType<typeof route>, ReturnType<typeof route>, ReturnType<typeof route>];
        await apply({ traffic: sticky, routes: [a, b] });
        const first = await fetch(url());
        const cookie = cookieOf(first);
        expect(cookie).toMatch(/^stay=1\.[0-9a-f]{16}$/);
        const home = await first.text();
        const mine = home === 'revision a\n' ? a : b;
        const other = mine === a ? b : a;
        const ask = async () => {
          const res = await fetch(url(), { headers: { cookie } });
          return { text: await res.text(), cookie: cookieOf(res) };
        };
        for (const routes of [
          [{ ...mine, weight: 1 }, other, c],
          [{ ...mine, weight: 1 }, { ...other, weight: 256 }, c],
        ]) {
          await apply({ traffic: sticky, routes });
          for (let n = 0; n < 20; n++) expect(await ask()).toEqual({ text: home, cookie: '' });
        }
        // its instance is drained: another of its revision, and a new cookie
        await apply({ traffic: sticky, routes: [{ ...mine, weight: 0 }, other, { ...c, weight: 256 }] });
        for (let n = 0; n < 20; n++) {
          const answer = await ask();
          expect(answer.text).toBe(`revision ${other.instance}\n`);
          expect(answer.cookie).toMatch(/^stay=1\./);
        }
        await apply({ traffic: sticky, routes: [c] });
        expect((await ask()).text).toBe('revision c\n');
        // it comes back: the old cookie is good again
        await apply({ traffic: sticky, routes: [mine, other, c] });
        expect((await ask()).text).toBe(home);
      });

      test('the application never sees the cookie, and keeps its own', async () => {
        const { apply, url } = await stage(open);
        const app = await backend((req, res) => res.end(String(req.headers.cookie)));
        await apply({ traffic: sticky, routes: [route('a', app)] });
        const ask = (cookie: string) => fetch(url(), { headers: { cookie } }).then((res) => res.text());
        expect(await ask('stay=1.0011223344556677')).toBe('undefined');
        expect(await ask('a=1; stay=1.0011223344556677; b=2')).toBe('a=1; b=2');
        expect(await ask('a=1; stay=1.0011223344556677')).toBe('a=1');
        expect(await ask('mistay=2; b=1')).toBe('mistay=2; b=1');
      });
    });

    test('preview requests reach the new revision before it has a weight, by host and by header', async () => {
      const { apply, url, status } = await stage(open);
      const header = { name: 'X-Preview', value: 'it"s-me' };
      const preview = traffic({ preview: { host: 'next.test', header } });
      const routes = [
        route('old', await backend('1')),
        route('new', await backend('2'), { revision: 2, weight: 0 }),
      ];
      const port = () => Number(new URL(url()).port);
      const byHeader = () => fetch(url(), { headers: { 'x-preview': 'it"s-me' } }).then((res) => res.text());
      const byHost = () =>
        answerOf(port(), 'GET / HTTP/1.1\r\nHost: NEXT.test:80\r\nConnection: close\r\n\r\n');
      await apply({ traffic: preview, routes });
      expect(await byHeader()).toBe('revision 1\n');
      await apply({ traffic: preview, preview: 2, routes });
      for (let n = 0; n < 5; n++) {
        expect(await byHeader()).toBe('revision 2\n');
        expect(await byHost()).toContain('revision 2\n');
        expect(await (await fetch(url())).text()).toBe('revision 1\n');
      }
      expect((await status()).preview).toBe(2);
      await apply({ traffic: preview, preview: 2, hold: true, routes });
      expect(await byHeader()).toBe('revision 2\n');
      await apply({ traffic: preview, routes });
      expect(await byHeader()).toBe('revision 1\n');
    });

    test('services share an address by host and path; who asks for none of them gets 404', async () => {
      const { apply, plane, status } = await stage(open);
      const first = await apply({
        traffic: traffic({ match: [{ host: 'shop.test', path: '/' }] }),
        routes: [route('a', await backend('shop'))],
      });
      const { listen } = first;
      const named = async (service: string, match: TrafficPolicy['match']) =>
        apply({ service, listen, traffic: traffic({ match }), routes: [route('a', await backend(service))] });
      const ask = (host: string, path: string) =>
        answerOf(listen.port, `GET ${path} HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`);
      const nobody = await ask('blog.test', '/');
      expect(nobody).toMatch(/^HTTP\/1\.1 404 /);
      expect(nobody).toMatch(/x-unideploy-proxy: no-service/i);
      await named('cart', [{ host: 'shop.test', path: '/cart/' }]);
      await named('api', [{ host: null, path: '/api' }]);
      await named('rest', []);
      for (const [host, path, service] of [
        ['SHOP.test:8080', '/', 'shop'],
        ['shop.test', '/cart', 'cart'],
        ['shop.test', '/cart/1?x', 'cart'],
        ['shop.test', '/carts', 'shop'],
        ['shop.test', '/api', 'shop'],
        ['other.test', '/api/v1', 'api'],
        ['other.test', '/apis', 'rest'],
      ] as const)
        expect(await ask(host, path)).toContain(`revision ${service}\n`);
      await expect(named('thief', [{ host: 'Shop.test', path: '/cart' }])).rejects.toMatchObject({
        code: 'UD_PORT_IN_USE',
      });
      await expect(named('late', [])).rejects.toMatchObject({ code: 'UD_PORT_IN_USE' });
      expect((await plane.status()).map(({ service }) => service).sort()).toEqual([
        'api',
        'cart',
        'rest',
        'shop',
      ]);
      await plane.remove('cart', 1_000);
      expect(await ask('shop.test', '/cart')).toContain('revision shop\n');
      expect((await status()).listen).toEqual(listen);
    });

    test('a service that comes to an address or goes breaks no request of another, nor a hold', async () => {
      const { apply, plane, url, status } = await stage(open);
      const app = await backend('1');
      const shop = { traffic: traffic({ match: [] }), routes: [route('a', app)] };
      const { listen } = await apply(shop);
      const load = startLoad({ url: url(), connections: 32 });
      const blog = {
        service: 'blog',
        listen,
        traffic: traffic({ match: [{ host: 'blog.test', path: '/' }] }),
      };
      for (let round = 0; round < 3; round++) {
        const { ok } = load.ledger;
        await apply({ ...blog, routes: [route('b', app)] });
        await until('load with both', () => load.ledger.ok >= ok + 300, 20_000);
        await plane.remove('blog', 100);
        await until('load with one', () => load.ledger.ok >= ok + 600, 20_000);
      }
      await apply({ ...shop, hold: true });
      await eventually('all wait', async () => (await status()).held === 32);
      await apply({ ...blog, routes: [route('b', app)] });
      await apply(shop);
      const { ok } = load.ledger;
      await until('load after the hold', () => load.ledger.ok >= ok + 300, 20_000);
      const ledger = await load.stop();
      expect(ledger.failures).toEqual([]);
      await eventually('every request is counted', async () => {
        const { requests, failures } = await status();
        return requests === ledger.sent && failures === 0;
      });
    });

    test('a policy that changes under load fails no request', async () => {
      const { apply, url } = await stage(open);
      const routes = [route('a', await backend('1')), route('b', await backend('1'))];
      await apply({ routes });
      const load = startLoad({ url: url(), connections: 64 });
      for (const change of [
        { balance: 'power-of-two' },
        { limits: { head: 32_768, body: 1_000 } },
        { check: { path: '/', interval: 500, timeout: 500, healthy: 1, unhealthy: 2 } },
        { sticky: { cookie: 'stay' } },
      ] satisfies Partial<TrafficPolicy>[]) {
        const { ok } = load.ledger;
        await until('load before the change', () => load.ledger.ok >= ok + 300, 20_000);
        await apply({ traffic: traffic(change), routes });
      }
      const { ok } = load.ledger;
      await until('load after the changes', () => load.ledger.ok >= ok + 300, 20_000);
      expect((await load.stop()).failures).toEqual([]);
    });

    test('an upgrade refuses no connection and breaks no request', async () => {
      const { apply, plane, url, status } = await stage(open);
      await apply({ routes: [route('a', await backend('1'))] });
      const kept = startLoad({ url: url(), connections: 32 });
      const fresh = startLoad({ url: url(), connections: 8, headers: { connection: 'close' } });
      for (let round = 0; round < 3; round++) {
        const { ok } = kept.ledger;
        await until('load before the upgrade', () => kept.ledger.ok >= ok + 500, 20_000);
        await plane.upgrade();
      }
      const { ok } = kept.ledger;
      await until('load after the upgrades', () => kept.ledger.ok >= ok + 500, 20_000);
      const ledgers = [await kept.stop(), await fresh.stop()];
      expect(ledgers.flatMap(({ failures }) => failures)).toEqual([]);
      expect(await status()).toMatchObject({ failures: 0 });
    });

    describe('TLS', () => {
      test('every host has its certificate, a new file is served, a bad one is not', async () => {
        const { apply, state } = await stageWithState(open);
        const one = await certificate('one.test');
        const two = await certificate('two.test');
        const { listen } = await apply({
          traffic: traffic({ tls: one, match: [{ host: 'one.test', path: '/' }] }),
          routes: [route('a', await backend('one'))],
        });
        const blog = {
          service: 'two',
          listen,
          traffic: traffic({ tls: two, match: [{ host: 'two.test', path: '/' }] }),
          routes: [route('a', await backend('two'))],
        };
        await apply(blog);
        const one1 = await overTls(listen.port, 'one.test');
        expect(one1).toMatchObject({ name: 'one.test', alpn: 'h2' });
        expect((await overTls(listen.port, 'two.test')).name).toBe('two.test');
        expect((await overTls(listen.port, 'one.test', ['http/1.1'])).answer).toContain('revision one');
        // a connection that was open before the new certificate goes on
        const open1 = connectTls({ port: listen.port, servername: 'two.test', rejectUnauthorized: false });
        await once(open1, 'secureConnect');
        await writeFile(two.certificate, 'nonsense');
        await eventually('the bad file is told of', async () =>
          (await readFile(join(state, 'proxy.log'), 'utf8').catch(() => '')).includes(
            'the certificate stays as it was',
          ),
        );
        expect((await overTls(listen.port, 'two.test')).name).toBe('two.test');
        await expect(
          apply({
            ...blog,
            service: 'three',
            traffic: traffic({ tls: two, match: [{ host: 'x', path: '/' }] }),
          }),
        ).rejects.toMatchObject({ code: 'UD_TLS' });
        const renewed = await certificate('renewed.test');
        await writeFile(two.key, await readFile(renewed.key));
        await writeFile(two.certificate, await readFile(renewed.certificate));
        await eventually(
          'the new one is served',
          async () => (await overTls(listen.port, 'two.test')).name === 'renewed.test',
        );
        expect((await overTls(listen.port, 'one.test')).name).toBe('one.test');
        open1.write('GET / HTTP/1.1\r\nHost: two.test\r\nConnection: close\r\n\r\n');
        let text = '';
        for await (const piece of open1) text += String(piece);
        expect(text).toContain('revision two');
      });
    });

    test('a service of connections gets them byte for byte', async () => {
      const { apply, plane, url, status } = await stage(open);
      const echo = createServer({ allowHalfOpen: true }, (socket) => socket.pipe(socket)).listen(
        0,
        '127.0.0.1',
      );
      await once(echo, 'listening');
      onTestFinished(() => void echo.close());
      const { port } = echo.address() as AddressInfo;
      const tcp = traffic({ mode: 'tcp' });
      const { listen } = await apply({ traffic: tcp, routes: [route('a', { port })] });
      const wire = await openWire(listen.port);
      wire.socket.write('\x00\x01 not HTTP');
      await until('the echo', () => wire.received() === '\x00\x01 not HTTP');
      expect((await status()).routes).toMatchObject([{ inFlight: 1 }]);
      await apply({ traffic: tcp, hold: true, routes: [route('a', { port })] });
      const held = await openWire(listen.port);
      held.socket.write('held');
      await eventually('it waits', async () => (await status()).held === 1);
      expect(held.received()).toBe('');
      await apply({ traffic: tcp, routes: [route('a', { port })] });
      await until('the echo', () => held.received() === 'held');
      await apply({ traffic: tcp, routes: [route('a', { port }, { weight: 0 })] });
      expect(await plane.drained('shop', 'a', 100)).toMatchObject({ cut: 2 });
      await until('both are cut', () => wire.closed() && held.closed());
      expect(url()).toContain(String(listen.port));
    });

    test('active checks take an instance out, and let it in again', async () => {
      const { apply, status, url } = await stage(open);
      let healthy = true;
      const app = await backend((req, res) => {
        res.statusCode = req.url === '/healthz' && !healthy ? 503 : 200;
        res.end('sick');
      });
      const check = { path: '/healthz', interval: 100, timeout: 500, healthy: 2, unhealthy: 2 };
      await apply({ traffic: traffic({ check }), routes: [route('a', app), route('b', await backend('2'))] });
      const usable = async () => (await status()).routes.map((each) => each.usable);
      await eventually('both are in', async () => (await usable()).every(Boolean));
      healthy = false;
      await eventually('it is out', async () => !(await usable())[0]);
      for (let n = 0; n < 10; n++) expect(await (await fetch(url())).text()).toBe('revision 2\n');
      healthy = true;
      await eventually('it is in again', async () => Boolean((await usable())[0]));
    });

    test('an instance that fails several requests in a row is ejected for a while, not below the floor', async () => {
      const { apply, status, url, plane } = await stage(open);
      const app = await backend((_req, res) => res.writeHead(503).end('mine'));
      const eject = { failures: 3, time: 1_500, floor: 50 };
      const bad = [route('bad', app), route('worse', app), route('good', await backend('1'))];
      await apply({ traffic: traffic({ eject }), routes: bad });
      const ask = () => fetch(url()).then((res) => res.status);
      await eventually('one of them is out', async () => {
        await ask();
        return (await status()).routes.some(({ usable }) => !usable);
      });
      for (let n = 0; n < 30; n++) await ask();
      expect((await status()).routes.filter(({ usable }) => !usable)).toHaveLength(1);
      const figures = await plane.figures('shop');
      expect(figures.reduce((all, { ejections }) => all + ejections, 0)).toBeGreaterThan(0);
      expect(await plane.metrics()).toMatch(/^unideploy_ejections_total\{.*service="shop".*\} [1-9]/m);
      await eventually('it is back', async () => (await status()).routes.every(({ usable }) => usable));
    });

    describe('hold', () => {
      const hold = { requests: 2, bytes: 1_000, time: 700, health: '/up' };

      test('its policy bounds number, bytes and time, and a path is answered meanwhile', async () => {
        const { apply, status, url } = await stage(open);
        const routes = [route('a', await backend('1'))];
        await apply({ traffic: traffic({ hold }), hold: true, routes });
        const reason = (res: Response) => [res.status, res.headers.get('x-unideploy-proxy')];
        expect(reason(await fetch(`${url()}up`))).toEqual([200, 'held']);
        const big = await fetch(url(), { headers: { 'x-big': 'x'.repeat(1_000) } });
        expect(reason(big)).toEqual([503, 'hold-full']);
        const waiting = [fetch(url()), fetch(url())];
        await eventually('two wait', async () => (await status()).held === 2);
        expect(reason(await fetch(url()))).toEqual([503, 'hold-full']);
        for (const res of await Promise.all(waiting)) {
          expect(reason(res)).toEqual([503, 'hold-timeout']);
          expect(res.headers.get('retry-after')).toBe('1');
        }
        await apply({ traffic: traffic({ hold }), routes });
        expect(await (await fetch(`${url()}up`)).text()).toBe('revision 1\n');
      });

      test('a client that goes away is counted no more', async () => {
        const { apply, status } = await stage(open);
        const app = await backend('1');
        const { listen } = await apply({ hold: true, routes: [route('a', app)] });
        const wire = await openWire(listen.port);
        wire.socket.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n');
        await eventually('it waits', async () => (await status()).held === 1);
        wire.socket.destroy();
        await eventually('it is forgotten', async () => (await status()).held === 0, 5_000);
        await apply({ routes: [route('a', app)] });
        expect((await fetch(`http://127.0.0.1:${listen.port}/`)).status).toBe(200);
        expect(app.requests).toBe(1);
      });
    });

    test('heads and bodies are bounded', async () => {
      const { apply, url } = await stage(open);
      const limits = { head: 10_000, body: 1_000 };
      await apply({ traffic: traffic({ limits }), routes: [route('a', await backend('1'))] });
      const head = (bytes: number) => fetch(url(), { headers: { 'x-big': 'x'.repeat(bytes) } });
      const body = (bytes: number) => fetch(url(), { method: 'POST', body: 'x'.repeat(bytes) });
      expect((await head(9_000)).status).toBe(200);
      expect((await head(11_000)).status).toBe(431);
      expect((await body(1_000)).status).toBe(200);
      const refused = await body(1_001);
      expect([refused.status, refused.headers.get('x-unideploy-proxy')]).toEqual([413, 'too-large']);
    });

    test('instances are told who asked, and never what was meant for the proxy', async () => {
      const { apply, url } = await stage(open);
      const app = await backend((req, res) => {
        res.setHeader('Connection', 'keep-alive, X-Hop');
        res.setHeader('X-Hop', '1');
        res.setHeader('Keep-Alive', 'timeout=9');
        res.end(JSON.stringify(req.headers));
      });
      await apply({ routes: [route('a', app)] });
      const port = Number(new URL(url()).port);
      const answer = await answerOf(
        port,
        [
          'GET http://shop.test/x HTTP/1.1',
          'Host: shop.test',
          'Connection: close, X-Secret',
          'X-Secret: 1',
          'TE: trailers',
          'Proxy-Authorization: x',
          'X-Forwarded-For: 10.0.0.1',
          'Forwarded: for=10.0.0.1',
          'X-Request-Id: mine-1',
          '',
          '',
        ].join('\r\n'),
      );
      const [head = '', body = ''] = answer.split('\r\n\r\n');
      expect(head).not.toMatch(/x-hop|keep-alive:/i);
      const headers = JSON.parse(/\{.*\}/.exec(body)?.[0] ?? '');
      expect(headers).toMatchObject({
        host: 'shop.test',
        'x-forwarded-for': '10.0.0.1, 127.0.0.1',
        'x-forwarded-proto': 'http',
        'x-forwarded-host': 'shop.test',
        forwarded: 'for=10.0.0.1, for=127.0.0.1;host="shop.test";proto=http',
        'x-request-id': 'mine-1',
      });
      for (const name of ['x-secret', 'te', 'proxy-authorization']) expect(headers).not.toHaveProperty(name);
      const made = await fetch(url(), { headers: { 'x-request-id': 'not valid' } });
      expect(((await made.json()) as Record<string, string>)['x-request-id']).toMatch(/^[0-9a-f-]{36}$/);
    });

    test.each([
      [
        'two lengths',
        400,
        'POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd',
      ],
      [
        'chunked in HTTP/1.0',
        400,
        'POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n',
      ],
      ['another host', 400, 'GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n'],
      ['a fragment', 400, 'GET /#x HTTP/1.1\r\nHost: a\r\n\r\n'],
      ['no path', 400, 'OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n'],
      ['no host', 400, 'GET / HTTP/1.1\r\n\r\n'],
      ['two hosts', 400, 'GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n'],
      ['a host with a path', 400, 'GET / HTTP/1.1\r\nHost: a/b\r\n\r\n'],
      ['an underscored length', 400, 'POST / HTTP/1.1\r\nHost: a\r\nContent_Length: 3\r\n\r\n'],
      ['an underscored address', 400, 'GET / HTTP/1.1\r\nHost: a\r\nX_Forwarded-For: 1\r\n\r\n'],
      ['a space before the colon', 400, 'POST / HTTP/1.1\r\nHost: a\r\nContent-Length : 3\r\n\r\nabc'],
      [
        'a named length',
        400,
        'POST / HTTP/1.1\r\nHost: a\r\nConnection: content-length\r\nContent-Length: 1\r\n\r\nx',
      ],
      ['TRACE', 405, 'TRACE / HTTP/1.1\r\nHost: a\r\n\r\n'],
      ['CONNECT', 405, 'CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n'],
    ])('refuses %s with %i', async (_what, expected, request) => {
      const { apply, url } = await stage(open);
      const app = await backend('1');
      await apply({ routes: [route('a', app)] });
      const wire = await openWire(Number(new URL(url()).port));
      wire.socket.write(request);
      await until('an answer', () => wire.received().includes('\r\n\r\n'));
      expect(wire.received()).toMatch(new RegExp(`^HTTP/1\\.1 ${expected} `));
      expect(app.requests).toBe(0);
    });

    test('a chunk that is none gets 400', async () => {
      const { apply, url } = await stage(open);
      await apply({ routes: [route('a', await backend('1'))] });
      const wire = await openWire(Number(new URL(url()).port));
      wire.socket.write('POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n\r\n');
      await until('an answer', () => wire.received().includes('\r\n\r\n'));
      expect(wire.received()).toMatch(/^HTTP\/1\.1 400 /);
    });

    describe('drain', () => {
      const events = (streams: ServerResponse[]) =>
        backend((req, res) => {
          if (req.url === '/events') res.writeHead(200, { 'content-type': 'text/event-stream' });
          res.write('data: 1\n\n');
          streams.push(res);
        });

      test('WebSockets and event streams end after their own grace, the rest at the deadline', async () => {
        const { apply, plane, url } = await stage(open);
        const streams: ServerResponse[] = [];
        const app = await events(streams);
        app.server.on('upgrade', (_req, socket) => {
          socket.on('error', () => undefined);
          socket.write(
            'HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n',
          );
        });
        const policy = traffic({ drain: { websocket: 100, events: 400 } });
        const { listen } = await apply({ traffic: policy, routes: [route('a', app)] });
        const socket = await openWire(listen.port);
        socket.socket.write(
          'GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n',
        );
        await until('it is open', () => socket.received().startsWith('HTTP/1.1 101'));
        const stream = await openWire(listen.port);
        stream.socket.write('GET /events HTTP/1.1\r\nHost: a\r\nAccept: text/event-stream\r\n\r\n');
        await until('the first event', () => stream.received().includes('data: 1'));
        const download = fetch(`${url()}download`).then((res) => res.text());
        await until('the download has begun', () => streams.length === 2);
        await apply({ traffic: policy, routes: [route('a', app, { weight: 0 }), route('b', app)] });
        const drained = plane.drained('shop', 'a', 10_000);
        await until('the WebSocket is ended', () => socket.closed());
        expect(stream.closed()).toBe(false);
        await until('the event stream is ended', () => stream.closed());
        streams[1]?.end('whole');
        expect(await download).toContain('whole');
        expect(await drained).toEqual({ cut: 0, websockets: 1, streams: 1 });
      });

      test('a stream of events may be silent for longer than an answer may take', async () => {
        const { apply, url } = await stage(open);
        const streams: ServerResponse[] = [];
        const timeouts = { ...DEFAULT_TRAFFIC.timeouts, response: 300, body: 300 };
        await apply({ traffic: traffic({ timeouts }), routes: [route('a', await events(streams))] });
        const stream = await openWire(Number(new URL(url()).port));
        stream.socket.write('GET /events HTTP/1.1\r\nHost: a\r\nAccept: text/event-stream\r\n\r\n');
        await until('the first event', () => stream.received().includes('data: 1'));
        await new Promise((resolve) => setTimeout(resolve, 1_000));
        streams[0]?.write('data: 2\n\n');
        await until('the second event', () => stream.received().includes('data: 2'));
      });
    });

    test('what was answered is counted by instance and revision, and written to the access log', async () => {
      const { apply, plane, url, state } = await stageWithState(open);
      const app = await backend((req, res) => {
        if (req.url === '/break') res.destroy();
        else res.writeHead(Number(req.url?.slice(1) || 200)).end('x');
      });
      await apply({ traffic: traffic({ accessLog: true }), routes: [route('ä 1', app, { revision: 7 })] });
      for (const status of [200, 201, 404, 500]) await (await fetch(`${url()}${status}`)).text();
      // on a connection of its own: HAProxy only closes one that was used before, and counts nothing
      const lost = 'POST /break HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 0\r\n\r\n';
      expect(await answerOf(Number(new URL(url()).port), lost)).toMatch(/^HTTP\/1\.1 502 /);
      await eventually('all are counted', async () => (await plane.figures('shop'))[0]?.broken === 1);
      const [figures] = await plane.figures('shop');
      expect(figures).toMatchObject({
        instance: 'ä 1',
        revision: 7,
        status: { '1xx': 0, '2xx': 2, '3xx': 0, '4xx': 1, '5xx': 1 },
        broken: 1,
      });
      expect(figures?.latency.buckets.reduce((sum, each) => sum + each)).toBe(4);
      await eventually(
        'the log is written',
        async () =>
          (await readFile(join(state, 'access.log'), 'utf8').catch(() => '')).split('\n').length === 6,
      );
      const lines = (await readFile(join(state, 'access.log'), 'utf8')).trim().split('\n');
      expect(JSON.parse(lines[2] ?? '')).toMatchObject({
        service: 'shop',
        method: 'GET',
        path: '/404',
        host: '127.0.0.1',
        status: 404,
        instance: 'ä 1',
        revision: 7,
        attempts: 1,
      });
    });
  },
);

/** A stage whose state folder the test looks into. */
async function stageWithState(open: Parameters<typeof stage>[0]) {
  let state = '';
  const made = await stage((folder) => {
    state = folder;
    return open(folder);
  });
  return { ...made, state };
}

/** All that comes back on a connection until it closes. */
async function answerOf(port: number, request: string): Promise<string> {
  const wire = await openWire(port);
  wire.socket.write(request);
  await until('the answer', () => wire.closed());
  return wire.received();
}

async function certificate(name: string): Promise<{ certificate: string; key: string }> {
  const folder = await mkdtemp(join(tmpdir(), 'ud-tls-'));
  onTestFinished(() => rm(folder, { recursive: true, force: true }));
  const files = { certificate: join(folder, 'cert.pem'), key: join(folder, 'key.pem') };
  const subject = ['-subj', `/CN=${name}`, '-addext', `subjectAltName=DNS:${name}`, '-days', '2', '-nodes'];
  const kind = ['-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1'];
  await promisify(execFile)('openssl', [
    'req',
    ...kind,
    '-keyout',
    files.key,
    '-out',
    files.certificate,
    ...subject,
  ]);
  return files;
}

/** Who answers a client that asks for a host over TLS, and what. */
async function overTls(port: number, servername: string, alpn = ['h2', 'http/1.1']) {
  const socket = connectTls({ port, servername, ALPNProtocols: alpn, rejectUnauthorized: false });
  await once(socket, 'secureConnect');
  const name = socket.getPeerCertificate().subject.CN;
  let answer = '';
  if (!alpn.includes('h2')) {
    socket.write(`GET / HTTP/1.1\r\nHost: ${servername}\r\nConnection: close\r\n\r\n`);
    for await (const piece of socket) answer += String(piece);
  }
  socket.destroy();
  return { name, alpn: socket.alpnProtocol, answer };
}
