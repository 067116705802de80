import { once } from 'node:events';
import { Agent, request, type ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { Readable } from 'node:stream';
import { describe, expect, test } from 'vitest';
import { bodyOf } from '../../../support/http/backend.ts';
import { ENGINES, sharedStage } from '../engines.ts';
import { backend, route, until } from '../scene.ts';
import { answering, answerTo, bareInstance, dial } from './wire.ts';

describe.each(ENGINES)('$engine', { timeout: 60_000 }, ({ engine, open }) => {
  const at = sharedStage(open);

  test('HEAD, 204, 304 and a body without a byte have none, and the connection is used again', async () => {
    const app = await backend((req, res) => {
      if (req.url === '/204') res.writeHead(204).end();
      else if (req.url === '/304') res.writeHead(304, { etag: '"x"', 'content-length': '7' }).end();
      else if (req.url === '/0') res.writeHead(200, { 'content-length': '0' }).end();
      else res.writeHead(200, { 'content-length': '7' }).end('content');
    });
    await at().apply({ routes: [route('a', app)] });
    const wire = await dial(at().port());
    const ask = async (line: string, end = '\r\n\r\n') => {
      const before = wire.received().length;
      wire.socket.write(`${line} HTTP/1.1\r\nHost: a\r\n\r\n`);
      await until(line, () => wire.received().slice(before).endsWith(end));
      return wire.received().slice(before);
    };
    expect(await ask('HEAD /')).toMatch(/^HTTP\/1\.1 200 OK\r\n[\s\S]*content-length: 7\r\n/i);
    expect(await ask('GET /204')).toMatch(/^HTTP\/1\.1 204 No Content\r\n/);
    expect(await ask('GET /304')).toMatch(/^HTTP\/1\.1 304 Not Modified\r\n[\s\S]*etag: "x"\r\n/i);
    expect(await ask('GET /0')).toMatch(/^HTTP\/1\.1 200 OK\r\n/);
    expect(await ask('GET /', 'content')).toMatch(/^HTTP\/1\.1 200 OK\r\n/);
  });

  test('trailers of an answer come through', async () => {
    const app = await backend((_req, res) => {
      res.writeHead(200, { trailer: 'x-sum' });
      res.write('body');
      res.addTrailers({ 'x-sum': '42' });
      res.end();
    });
    await at().apply({ routes: [route('a', app)] });
    const [res] = await once(request(at().url()).end(), 'response');
    expect(await bodyOf(res)).toBe('body');
    expect(res.trailers).toEqual({ 'x-sum': '42' });
  });

  test('an answer until the end of its connection is whole', async () => {
    await at().apply({
      routes: [route('a', await answering('HTTP/1.1 200 OK\r\n\r\nall of it', (socket) => socket.end()))],
    });
    expect(await (await fetch(at().url())).text()).toBe('all of it');
  });

  test('an answer before the answer reaches the client: 103', async () => {
    const app = await answering(
      'HTTP/1.1 103 Early Hints\r\nLink: </style.css>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok',
    );
    await at().apply({ routes: [route('a', app)] });
    const asked = request(at().url()).end();
    const early = once(asked, 'information');
    const [res] = await once(asked, 'response');
    const [{ statusCode, headers }] = await early;
    expect([statusCode, headers.link]).toEqual([103, '</style.css>']);
    expect([res.statusCode, await bodyOf(res)]).toEqual([200, 'ok']);
  });

  test('a client that waits for 100 Continue is told to go on, and its body arrives', async () => {
    const app = await backend(async (req, res) => res.end(await bodyOf(req)));
    await at().apply({ routes: [route('a', app)] });
    const wire = await dial(at().port());
    for (const body of ['first', 'again']) {
      wire.socket.write(`POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n`);
      await until('it may go on', () => wire.received().endsWith('HTTP/1.1 100 Continue\r\n\r\n'));
      wire.socket.write(body);
      await until('the answer', () => wire.received().endsWith(`\r\n\r\n${body}`));
    }
  });

  test('a client that waits for 100 Continue may be refused instead', async () => {
    const app = await backend('1');
    await at().apply({
      traffic: { limits: { head: 16_384, body: 100 } },
      routes: [route('a', app)],
    });
    const wire = await dial(at().port());
    wire.socket.write('POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 500\r\n\r\n');
    await until('the answer', () => wire.received().includes('\r\n\r\n'));
    expect(wire.received()).toMatch(/^HTTP\/1\.1 413 /);
    expect(app.requests).toBe(0);
  });

  test.each(['keep-alive', 'close'])(
    'an early 413 reaches a client that is still uploading (Connection: %s)',
    async (connection) => {
      // HAProxy loses the answer of an instance that closes upon it, as this one of Node's does
      const app =
        engine === 'embedded'
          ? await backend((_req, res) => res.writeHead(413).end('too large'))
          : await answering('HTTP/1.1 413 Too Large\r\nContent-Length: 9\r\n\r\ntoo large');
      await at().apply({ routes: [route('a', app)] });
      const agent = new Agent({ keepAlive: connection === 'keep-alive' });
      for (let round = 0; round < 10; round++) {
        const upload = request(at().url(), { method: 'POST', headers: { connection }, agent });
        const failure = new Promise<never>((_resolve, reject) => upload.once('error', reject));
        const answered = once(upload, 'response');
        const piece = Buffer.alloc(1 << 20);
        Readable.from(Array.from({ length: 20 }, () => piece)).pipe(upload);
        const [res] = await Promise.race([answered, failure]);
        expect(res.statusCode).toBe(413);
        expect(await Promise.race([bodyOf(res), failure])).toBe('too large');
        upload.destroy();
      }
      agent.destroy();
    },
  );

  test('requests that were sent ahead are answered in their order', async () => {
    const waiting: ServerResponse[] = [];
    const app = await backend((_req, res) => {
      waiting.push(res);
    });
    await at().apply({ routes: [route('a', app)] });
    const wire = await dial(at().port());
    wire.socket.write(
      [
        'GET /1 HTTP/1.1\r\nHost: a\r\n\r\n',
        'POST /2 HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody',
        'POST /3 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n',
        'GET /4 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n',
      ].join(''),
    );
    for (let n = 1; n <= 4; n++) {
      await until(`request ${n} is there`, () => waiting.length === n);
      waiting[n - 1]?.end(`answer to ${waiting[n - 1]?.req.url}`);
    }
    await until('the end', () => wire.ended());
    expect(wire.received().match(/answer to \/\d/g)).toEqual([1, 2, 3, 4].map((n) => `answer to /${n}`));
  });

  test('a client of HTTP/1.0 gets what it can read', async () => {
    // HAProxy asks in the client's version, and the instance knows; embedded asks in HTTP/1.1
    const app = await backend((req, res) => {
      if (req.httpVersion === '1.1') res.writeEarlyHints({ link: '</style.css>' });
      res.write('bo');
      res.end('dy');
    });
    await at().apply({ routes: [route('a', app)] });
    for (const request of [
      'GET / HTTP/1.0\r\n\r\n',
      'GET / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n',
    ]) {
      const answer = await answerTo(at().port(), request);
      expect(answer).toMatch(/^HTTP\/1\.[01] 200 OK\r\n/);
      expect(answer).not.toMatch(/transfer-encoding/i);
      expect(answer.slice(answer.indexOf('\r\n\r\n'))).toBe('\r\n\r\nbody');
    }
  });

  test('a client of HTTP/1.0 that asks for it keeps its connection', async () => {
    const app = await backend((_req, res) => res.writeHead(200, { 'content-length': 2 }).end('ok'));
    await at().apply({ routes: [route('a', app)] });
    const wire = await dial(at().port());
    for (let n = 1; n <= 3; n++) {
      wire.socket.write('GET / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n');
      await until('the answer', () => wire.received().split('\r\n\r\nok').length === n + 1);
    }
    expect(wire.received()).toMatch(/connection: keep-alive/i);
    expect(wire.ended()).toBe(false);
  });

  test.each([1, 2, 3, 7])(
    'messages arrive as they were sent, however they are cut (every %i bytes)',
    async (cut) => {
      const answer =
        'HTTP/1.1 200 OK\r\nX-Long: yes and no\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nA;x=y\r\n0123456789\r\n0\r\nX-Sum: 1\r\n\r\n';
      const app = await bareInstance(({ socket, received }) => {
        const look = () => {
          if (!received().endsWith('\r\n0\r\n\r\n')) return;
          socket.off('data', look);
          trickle(socket, answer, cut);
        };
        socket.on('data', look);
      });
      await at().apply({ routes: [route('a', app)] });
      const wire = await dial(at().port());
      trickle(
        wire.socket,
        'POST /path?query HTTP/1.1\r\nHost: a\r\nX-Long: a b  c\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n1;ext\r\nd\r\n0\r\n\r\n',
        cut,
      );
      await until('the answer', () => /\r\nX-Sum: 1\r\n\r\n$/i.test(wire.received()) || wire.ended(), 10_000);
      expect(wire.received()).toMatch(/^HTTP\/1\.1 200 OK\r\nX-Long: yes and no\r\n/i);
      expect(unchunked(wire.received())).toBe('hello0123456789');
      const heard = app.connections.map((each) => each.received()).join('');
      expect(heard).toMatch(/^POST \/path\?query HTTP\/1\.1\r\n/);
      expect(heard).toMatch(/\r\nX-Long: a b {2}c\r\n/i);
      expect(unchunked(heard)).toBe('abcd');
    },
  );
});

/** Sends a text in pieces, each in a packet of its own. */
function trickle(socket: Socket, text: string, size: number): void {
  socket.setNoDelay(true);
  let at = 0;
  const more = () => {
    if (at >= text.length || socket.destroyed) return;
    socket.write(text.slice(at, at + size), () => setImmediate(more));
    at += size;
  };
  more();
}

/** The content of a chunked body. */
function unchunked(message: string): string {
  let rest = message.slice(message.indexOf('\r\n\r\n') + 4);
  let content = '';
  for (;;) {
    const line = rest.slice(0, rest.indexOf('\r\n'));
    const size = Number.parseInt(line, 16);
    if (!(size > 0)) return content;
    content += rest.slice(line.length + 2, line.length + 2 + size);
    rest = rest.slice(line.length + 4 + size);
  }
}
