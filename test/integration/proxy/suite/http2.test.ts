import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { type ClientHttp2Session, constants } from 'node:http2';
import { describe, expect, test } from 'vitest';
import { DEFAULT_TRAFFIC, type TrafficPolicy } from '../../../../src/domain/traffic.ts';
import type { Route } from '../../../../src/proxy/port.ts';
import { bodyOf } from '../../../support/http/backend.ts';
import { residentOf } from '../../../support/soak/footprint.ts';
import { ENGINES, eventually, sharedStage } from '../engines.ts';
import { backend, route, until } from '../scene.ts';
import { certificate } from './certificate.ts';
import { answerOf, ask, connectHttp2 } from './http2-client.ts';
import { answering, type Bare, bareInstance } from './wire.ts';

describe.each(ENGINES)('$engine', { timeout: 15_000 }, ({ engine, open }) => {
  const at = sharedStage(open);

  /** A client of a service with these routes. */
  async function client(routes: Route[], traffic: Partial<TrafficPolicy> = {}): Promise<ClientHttp2Session> {
    await at().apply({ traffic: { tls: await certificate('localhost'), ...traffic }, routes });
    return connectHttp2(at().port());
  }

  const nothingInFlight = () =>
    eventually('nothing is in flight', async () =>
      (await at().status()).routes.every(({ inFlight }) => inFlight === 0),
    );

  const leftBy = (bare: Bare | undefined) => bare?.ended() || bare?.closed() === true;

  test('a request reaches the instance as any other, and its answer comes back', async () => {
    const app = await backend(async (req, res) => {
      res.setHeader('set-cookie', ['a=1', 'b=2']);
      res.setHeader('connection', 'x-inner');
      res.setHeader('x-inner', '1');
      res.end(
        JSON.stringify({ method: req.method, url: req.url, headers: req.headers, body: await bodyOf(req) }),
      );
    });
    const session = await client([route('a', app)]);
    const answer = await ask(
      session,
      {
        ':method': 'POST',
        ':path': '/x?y=1',
        ':authority': 'shop.test',
        cookie: 'c=1',
        'x-twice': ['1', '2'],
        te: 'trailers',
        'x-request-id': 'mine-1',
      },
      'content',
    );
    expect(answer.status).toBe(200);
    expect(answer.headers['set-cookie']).toEqual(['a=1', 'b=2']);
    expect(answer.headers).not.toHaveProperty('x-inner');
    const heard = JSON.parse(answer.body);
    expect(heard).toMatchObject({ method: 'POST', url: '/x?y=1', body: 'content' });
    expect(heard.headers).toMatchObject({
      host: 'shop.test',
      cookie: 'c=1',
      'x-twice': '1, 2',
      'x-forwarded-for': '127.0.0.1',
      'x-forwarded-proto': 'https',
      'x-forwarded-host': 'shop.test',
      forwarded: 'for=127.0.0.1;host="shop.test";proto=https',
      'x-request-id': 'mine-1',
    });
    expect(heard.headers).not.toHaveProperty('te');
  });

  test('many requests at once on one connection each get their own answer', async () => {
    const app = await backend((req, res) => setImmediate(() => res.end(`answer to ${req.url}`)));
    const session = await client([route('a', app)]);
    const answers = await Promise.all(
      Array.from({ length: 300 }, (_, n) => ask(session, { ':path': `/${n}` })),
    );
    expect(answers.map(({ body }) => body)).toEqual(answers.map((_, n) => `answer to /${n}`));
    expect(await at().status()).toMatchObject({ failures: 0 });
  });

  test('large bodies go both ways at once, and all of them arrive', async () => {
    const app = await backend((req, res) => req.pipe(res));
    const session = await client([route('a', app)]);
    const bodies = Array.from({ length: 8 }, () => randomBytes(4 << 20));
    const answers = await Promise.all(bodies.map((body) => ask(session, { ':method': 'POST' }, body)));
    for (const [i, answer] of answers.entries())
      expect(Buffer.from(answer.body, 'latin1').equals(bodies[i] as Buffer)).toBe(true);
  });

  test('a stream whose client does not read waits in bounded memory, and keeps no other waiting', async () => {
    let written = 0;
    const app = await backend((req, res) => {
      if (req.url !== '/large') {
        res.end('small');
        return;
      }
      const piece = Buffer.alloc(1 << 16);
      const more = () => {
        while (written < 256 << 20) {
          written += piece.length;
          if (!res.write(piece)) return;
        }
        res.off('drain', more).end();
      };
      res.on('drain', more);
      more();
    });
    const session = await client([route('a', app)]);
    await ask(session, { ':path': '/small' });
    const before = residentOf(at().state);
    const large = session.request({ ':path': '/large' });
    await once(large, 'response');
    let seen = -1;
    await until('its instance stands still', () => {
      const still = written > 0 && written === seen;
      seen = written;
      return still;
    });
    for (let n = 0; n < 20; n++) expect((await ask(session, { ':path': '/small' })).body).toBe('small');
    expect(written).toBeLessThan(48 << 20);
    let got = 0;
    for await (const piece of large) got += piece.length;
    expect(got).toBe(256 << 20);
    expect(residentOf(at().state) - before).toBeLessThan(80 << 20);
  });

  test('an event arrives before the next one is sent', async () => {
    let send: ((event: string) => void) | undefined;
    const app = await backend((_req, res) => {
      res.writeHead(200, { 'content-type': 'text/event-stream' }).flushHeaders();
      send = (event) => res.write(event);
    });
    const session = await client([route('a', app)]);
    const stream = session.request({ ':path': '/' });
    await once(stream, 'response');
    for (let n = 0; n < 10; n++) {
      send?.(`data: ${n}\n\n`);
      expect(String((await once(stream, 'data'))[0])).toBe(`data: ${n}\n\n`);
    }
  });

  test('a stream that its client resets lets the instance go at once, the others go on', async () => {
    const app = await bareInstance(({ socket }) =>
      socket.once('data', () => socket.write('HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\npart')),
    );
    const session = await client([route('a', app)]);
    const [leaves, stays] = [session.request({ ':path': '/leaves' }), session.request({ ':path': '/stays' })];
    const whole = answerOf(stays);
    leaves.on('error', () => undefined).resume();
    const asked = (path: string) => app.connections.find((each) => each.received().includes(path));
    await until('both are asked', () => Boolean(asked('/leaves') && asked('/stays')));
    leaves.close(constants.NGHTTP2_CANCEL);
    await until('the instance is let go', () => leftBy(asked('/leaves')), 1_000);
    asked('/stays')?.socket.write('more');
    expect((await whole).body).toBe('partmore');
    await nothingInFlight();
  });

  test.each(['within its upload', 'before its answer'])(
    'a connection that goes away %s lets the instance go at once',
    async (when) => {
      const app = await bareInstance();
      const session = await client([route('a', app)]);
      const upload = when === 'within its upload';
      const stream = session.request({ ':method': 'POST', ':path': '/' }, { endStream: !upload });
      stream.on('error', () => undefined);
      if (upload) stream.write('part');
      const asked = () => app.connections.find((each) => /^POST/.test(each.received()));
      await until('it is asked', () => asked() !== undefined);
      session.destroy();
      await until('the instance is let go', () => leftBy(asked()), 1_000);
      await nothingInFlight();
    },
  );

  test.each([
    ['of known length', 'Content-Length: 1000\r\n\r\npart'],
    ['in chunks', 'Transfer-Encoding: chunked\r\n\r\n4\r\npart\r\n'],
  ])(
    'an answer %s that its instance does not finish is a broken stream, and the connection goes on',
    async (kind, rest) => {
      const app = await answering(`HTTP/1.1 200 OK\r\n${rest}`, (socket) => socket.destroy());
      const session = await client([route('a', app)]);
      for (let n = 0; n < 3; n++)
        // HAProxy 2.6 ends the stream of chunks as if it were whole
        if (engine === 'haproxy' && kind === 'in chunks') expect((await ask(session)).body).toBe('part');
        else await expect(ask(session)).rejects.toThrow();
      expect(session.closed).toBe(false);
    },
  );

  test('HEAD, 204, 304, trailers and an answer before the answer keep their form', async () => {
    const app = await backend((req, res) => {
      if (req.url === '/204') res.writeHead(204).end();
      else if (req.url === '/304') res.writeHead(304, { etag: '"x"' }).end();
      else if (req.url === '/trailers') {
        res.writeHead(200, { trailer: 'x-sum' }).write('body');
        res.addTrailers({ 'x-sum': '42' });
        res.end();
      } else if (req.url === '/103') {
        res.writeEarlyHints({ link: '</style.css>' });
        res.end('late');
      } else res.writeHead(200, { 'content-length': '7' }).end('content');
    });
    const session = await client([route('a', app)]);
    const head = await ask(session, { ':method': 'HEAD' });
    expect([head.status, head.headers['content-length'], head.body]).toEqual([200, '7', '']);
    expect((await ask(session, { ':path': '/204' })).status).toBe(204);
    expect((await ask(session, { ':path': '/304' })).headers.etag).toBe('"x"');
    const { body, trailers } = await ask(session, { ':path': '/trailers' });
    expect([body, trailers['x-sum']]).toEqual(['body', '42']);
    const stream = session.request({ ':path': '/103' });
    const early = once(stream, 'headers');
    expect((await answerOf(stream)).body).toBe('late');
    expect((await early)[0]).toMatchObject({ ':status': 103, link: '</style.css>' });
  });

  test('a client that waits for 100 Continue is told to go on', async () => {
    const app = await backend(async (req, res) => res.end(await bodyOf(req)));
    const session = await client([route('a', app)]);
    const stream = session.request({ ':method': 'POST', ':path': '/', expect: '100-continue' });
    stream.once('continue', () => stream.end('body'));
    expect((await answerOf(stream)).body).toBe('body');
  });

  test('an upload that is refused early gets its answer, and the connection goes on', async () => {
    const app = await backend((req, res) => {
      if (req.method === 'GET') res.end('fine');
      else if (engine === 'embedded') res.writeHead(413).end('too large');
      // HAProxy loses the answer of an instance that closes upon it
      else req.resume().once('end', () => res.writeHead(413).end('too large'));
    });
    const session = await client([route('a', app)]);
    for (let n = 0; n < 3; n++) {
      const stream = session.request({ ':method': 'POST', ':path': '/' });
      stream.write(Buffer.alloc(8 << 20));
      if (engine === 'haproxy') stream.end();
      const [headers] = await once(stream, 'response');
      expect(headers[':status']).toBe(413);
      stream.on('error', () => undefined).resume();
      await until('the stream is over', () => stream.closed);
    }
    expect((await ask(session)).body).toBe('fine');
    await nothingInFlight();
  });

  test('heads and bodies are bounded', async () => {
    const app = await backend(async (req, res) => {
      const body = await bodyOf(req).catch(() => '');
      res.end(String(body.length));
    });
    const limits = { head: 4_000, body: 1_000 };
    const session = await client([route('a', app)], { limits });
    expect((await ask(session, { 'x-big': 'x'.repeat(3_000) })).status).toBe(200);
    // told in the settings or by 431: either way no instance hears of it
    const large = await ask(session, { 'x-big': 'x'.repeat(6_000) }).then(
      ({ status }) => status,
      () => 'refused',
    );
    expect([431, 'refused']).toContain(large);
    const declared = await ask(await connectHttp2(at().port()), { ':method': 'POST' }, 'x'.repeat(1_001));
    // HAProxy bounds bodies by their declared length alone
    expect(declared.status).toBe(engine === 'embedded' ? 413 : 200);
    const length = { ':method': 'POST', 'content-length': 1_001 };
    expect((await ask(await connectHttp2(at().port()), length, 'x'.repeat(1_001))).status).toBe(413);
  });

  test('what is no request to this host is refused', async () => {
    const app = await backend((req, res) => res.end(req.headers.host));
    const session = await client([route('a', app)]);
    const refused = async (headers: Record<string, string>) =>
      ask(session.destroyed ? await connectHttp2(at().port()) : session, headers).then(
        ({ status }) => status,
        () => 'reset',
      );
    for (const headers of [
      { ':path': '/#x' },
      // HAProxy passes them on in one form: the host of the authority, and no length
      ...(engine === 'embedded' ? [{ ':authority': 'a', host: 'b' }, { 'content-length': '3' }] : []),
      { ':authority': 'a/b' },
      { content_length: '3' },
    ] as Record<string, string>[])
      expect({ [JSON.stringify(headers)]: await refused(headers) }).not.toEqual({
        [JSON.stringify(headers)]: 200,
      });
    expect(await refused({ ':method': 'TRACE' })).toBe(405);
    expect(app.requests).toBe(0);
    const twoHosts = { ':authority': 'a', host: 'b' };
    if (engine === 'embedded') expect(await refused(twoHosts)).not.toBe(200);
    // HAProxy tells the instance of the authority alone
    else expect((await ask(await connectHttp2(at().port()), twoHosts)).body).toBe('a');
    expect(app.requests).toBe(engine === 'embedded' ? 0 : 1);
  });

  test('headers of an instance that HTTP/2 has no room for harm nobody', async () => {
    const odd = [
      'Content-Type: text/plain\r\nContent-Type: text/html',
      'HTTP2-Settings: x',
      'ETag: "a"\r\nETag: "b"',
      'Constructor: x',
      '__proto__: x',
      'X-Latin: \xe4\xff',
      'Upgrade: h2c',
    ];
    const app = await bareInstance(({ socket }) =>
      socket.on('data', (asked) => {
        const lines = odd[Number(/^GET \/(\d+)/.exec(String(asked))?.[1])];
        if (lines === undefined) return;
        socket.write(`HTTP/1.1 200 OK\r\n${lines}\r\nContent-Length: 2\r\n\r\nok`, 'latin1');
      }),
    );
    const session = await client([route('a', app)]);
    const waiting = session.request({ ':path': '/waiting' });
    for (const [n, header] of odd.entries()) {
      const { status, body } = await ask(session, { ':path': `/${n}` });
      expect({ header, status, body }).toEqual({ header, status: 200, body: 'ok' });
    }
    expect((await ask(session, { ':path': '/3' })).headers.constructor).toBe('x');
    expect(waiting.destroyed).toBe(false);
  });

  test('a status that is none is answered for with 502', async () => {
    for (const status of [600, 999, 99]) {
      const app = await answering(
        `HTTP/1.1 ${String(status).padStart(3, '0')} Odd\r\nContent-Length: 0\r\n\r\n`,
      );
      const session = await client([route('a', app)]);
      const answer = await ask(session).then(
        ({ status }) => status,
        () => 'broken',
      );
      // HAProxy passes some of them on
      if (engine === 'embedded') expect(answer).toBe(502);
      session.destroy();
    }
  });

  test('a hundred answers that nobody reads keep no further request waiting', async () => {
    const app = await backend((req, res) => {
      if (req.url === '/small') res.end('small');
      else res.write(Buffer.alloc(1 << 20));
    });
    const session = await client([route('a', app)]);
    const before = residentOf(at().state);
    const large = Array.from({ length: 90 }, () => session.request({ ':path': '/large' }));
    await Promise.all(large.map((stream) => once(stream, 'response')));
    for (let n = 0; n < 10; n++) expect((await ask(session, { ':path': '/small' })).body).toBe('small');
    expect(residentOf(at().state) - before).toBeLessThan(120 << 20);
    for (const stream of large) stream.close(constants.NGHTTP2_CANCEL);
    await nothingInFlight();
  });

  test('a client that is slow over its body is let go, and so is the instance', async () => {
    // HAProxy counts it as the instance's time
    const timeouts = {
      ...DEFAULT_TRAFFIC.timeouts,
      body: 300,
      response: engine === 'embedded' ? 60_000 : 300,
    };
    const app = await bareInstance();
    const session = await client([route('a', app)], { timeouts });
    const stream = session.request({ ':method': 'POST', ':path': '/' });
    stream.on('error', () => undefined).resume();
    stream.write('part');
    const asked = () => app.connections.find((each) => each.received() !== '');
    await until('the instance is let go', () => leftBy(asked()));
    await until('the stream is over', () => stream.closed);
  });

  test('a client without requests is let go, with a goodbye', async () => {
    const timeouts = { ...DEFAULT_TRAFFIC.timeouts, idle: 300, body: 300 };
    const session = await client([route('a', await backend('1'))], { timeouts });
    const goodbye = once(session, 'goaway');
    expect((await ask(session)).status).toBe(200);
    expect((await goodbye)[0]).toBe(constants.NGHTTP2_NO_ERROR);
    await until('the connection is closed', () => session.destroyed);
  });

  test('a service that goes away says goodbye, and what is in flight ends', async () => {
    let finish: (() => void) | undefined;
    const app = await backend((req, res) => {
      if (req.url === '/slow') finish = () => res.end('whole');
      else res.end('quick');
    });
    const session = await client([route('a', app)]);
    const slow = ask(session, { ':path': '/slow' });
    await until('it is in flight', () => finish !== undefined);
    const goodbye = once(session, 'goaway');
    const removed = at().plane.remove('shop', 10_000);
    // HAProxy says it with the next answer
    if (engine === 'embedded') await goodbye;
    else await eventually('it has left', async () => (await at().plane.status()).length === 0);
    finish?.();
    expect((await slow).body).toBe('whole');
    await goodbye;
    await until('the connection is closed', () => session.destroyed);
    await removed;
  });
});
