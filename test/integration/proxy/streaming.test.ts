import { once } from 'node:events';
import { request, type ServerResponse } from 'node:http';
import { createServer } from 'node:net';
import { Readable } from 'node:stream';
import { expect, onTestFinished, test } from 'vitest';
import { bodyOf } from '../../support/http/backend.ts';
import { backend, openWire, route, scene, until } from './scene.ts';

test('a client that goes away ends its request at the instance at once', async () => {
  const proxy = scene();
  let closed = 0;
  const app = await backend((req, res) => {
    if (req.url === '/begun') res.write('part');
    res.once('close', () => closed++);
  });
  await proxy.apply({ routes: [route('a', app)] });
  for (const [n, path] of ['/silent', '/begun'].entries()) {
    const wire = await openWire(proxy.port);
    wire.socket.write(`GET ${path} HTTP/1.1\r\nHost: a\r\n\r\n`);
    await until('the request is in flight', () => app.requests === n + 1 && proxy.inFlight() === 1);
    if (path === '/begun') await until('the answer has begun', () => wire.received().includes('part'));
    wire.socket.destroy();
    await until('the instance is free', () => closed === n + 1 && proxy.inFlight() === 0);
  }
  expect(proxy.status().failures).toBe(0);
});

test('a client that goes away in the midst of its upload ends it at the instance', async () => {
  const proxy = scene();
  let aborted = false;
  const app = await backend((req) => {
    req.resume().once('error', () => {
      aborted = true;
    });
  });
  await proxy.apply({ routes: [route('a', app)] });
  const wire = await openWire(proxy.port);
  wire.socket.write('POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\nbegun');
  await until('the request is in flight', () => app.requests === 1);
  wire.socket.destroy();
  await until('the instance is free', () => aborted && proxy.inFlight() === 0);
  expect(proxy.status()).toMatchObject({ requests: 1, failures: 0 });
});

test('requests sent ahead on one connection end with it, and answers come in order', async () => {
  const proxy = scene();
  const waiting: ServerResponse[] = [];
  const app = await backend((_req, res) => {
    waiting.push(res);
  });
  await proxy.apply({ routes: [route('a', app)] });
  const ask = 'GET / HTTP/1.1\r\nHost: a\r\n\r\n';
  const first = await openWire(proxy.port);
  first.socket.write(ask.repeat(3));
  for (const [n, word] of ['first', 'second', 'third'].entries()) {
    await until(`the ${word} is in flight`, () => waiting.length === n + 1);
    waiting[n]?.end(word);
  }
  await until('all answers', () => first.received().includes('third'));
  expect(first.received()).toMatch(/first[\s\S]+second[\s\S]+third/);

  const second = await openWire(proxy.port);
  second.socket.write(ask.repeat(3));
  await until('the fourth is in flight', () => waiting.length === 4);
  // more than the buffers hold: this answer is paused when its client goes
  waiting[3]?.write(Buffer.alloc(8 << 20));
  second.socket.destroy();
  await until('the instance is free', () => proxy.inFlight() === 0);
});

test.each([
  ['of known length', 'Content-Length: 1000\r\n\r\npart'],
  ['in chunks', 'Transfer-Encoding: chunked\r\n\r\n4\r\npart\r\n'],
])('an answer %s that the instance does not finish is visibly broken', async (_kind, answer) => {
  const proxy = scene();
  const server = createServer((socket) => {
    socket.on('error', () => undefined);
    socket.once('data', () => socket.write(`HTTP/1.1 200 OK\r\n${answer}`, () => socket.destroy()));
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  onTestFinished(() => void server.close());
  await proxy.apply({ routes: [route('a', { port: (server.address() as { port: number }).port })] });
  const wire = await openWire(proxy.port);
  wire.socket.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n');
  await until('the connection is broken', () => wire.closed());
  expect(wire.received()).not.toContain('\r\n0\r\n\r\n');
  expect(proxy.inFlight()).toBe(0);
});

test.each(['keep-alive', 'close'])(
  'an early 413 reaches a client that is still uploading (Connection: %s)',
  async (connection) => {
    const proxy = scene();
    const app = await backend((_req, res) => res.writeHead(413).end('too large'));
    await proxy.apply({ routes: [route('a', app)] });
    for (let round = 0; round < 10; round++) {
      const upload = request(proxy.url, { method: 'POST', headers: { connection } });
      const failure = new Promise<never>((_resolve, reject) => upload.once('error', reject));
      const answered = once(upload, 'response');
      const piece = Buffer.alloc(1 << 20);
      Readable.from(Array.from({ length: 20 }, () => piece)).pipe(upload);
      const [res] = await Promise.race([answered, failure]);
      expect(res.statusCode).toBe(413);
      expect(await Promise.race([bodyOf(res), failure])).toBe('too large');
      upload.destroy();
    }
    await until('nothing is in flight', () => proxy.inFlight() === 0);
  },
);

test('large bodies stream through in both directions with backpressure', async () => {
  const proxy = scene();
  const app = await backend((req, res) => {
    req.pipe(res);
  });
  await proxy.apply({ routes: [route('a', app)] });
  const size = 64 << 20;
  const piece = Buffer.alloc(1 << 20, 'x');
  let made = 0;
  const upload = request(proxy.url, { method: 'POST' });
  Readable.from(
    (function* () {
      for (; made < size; made += piece.length) yield piece;
    })(),
  ).pipe(upload);
  const [res] = await once(upload, 'response');
  res.pause();
  // a reader that does not read stops the writer long before the end
  let before = -1;
  await until('the upload stands still', () => {
    const still = made === before;
    before = made;
    return still && made > 0;
  });
  expect(made).toBeLessThan(size);
  let got = 0;
  for await (const part of res) got += part.length;
  expect(got).toBe(size);
});

test('the head of an event stream is sent before its first event', async () => {
  const proxy = scene();
  const app = await backend((_req, res) => {
    res.writeHead(200, { 'content-type': 'text/event-stream' }).flushHeaders();
  });
  await proxy.apply({ routes: [route('a', app)] });
  const answer = await fetch(proxy.url);
  expect(answer.headers.get('content-type')).toBe('text/event-stream');
  await answer.body?.cancel();
  await until('the instance is free', () => proxy.inFlight() === 0);
});

test('HEAD, 204, 304 and trailers keep their form, and the connection is used again', async () => {
  const proxy = scene();
  const app = await backend((req, res) => {
    if (req.url === '/204') res.writeHead(204).end();
    else if (req.url === '/304') res.writeHead(304, { etag: '"x"' }).end();
    else if (req.url === '/trailers') {
      res.writeHead(200, { trailer: 'x-sum' });
      res.write('body');
      res.addTrailers({ 'x-sum': '42' });
      res.end();
    } else res.writeHead(200, { 'content-length': '7' }).end('content');
  });
  await proxy.apply({ routes: [route('a', app)] });
  const wire = await openWire(proxy.port);
  const ask = async (line: string, end: string) => {
    const before = wire.received().length;
    wire.socket.write(`${line} HTTP/1.1\r\nHost: a\r\n\r\n`);
    await until(line, () => wire.received().slice(before).endsWith(end));
    return wire.received().slice(before);
  };
  expect(await ask('HEAD /', '\r\n\r\n')).toMatch(/content-length: 7/i);
  expect(await ask('GET /204', '\r\n\r\n')).toMatch(/^HTTP\/1.1 204/);
  expect(await ask('GET /304', '\r\n\r\n')).toMatch(/^HTTP\/1.1 304/);
  expect(await ask('GET /trailers', '0\r\nx-sum: 42\r\n\r\n')).toContain('body');
  expect(await ask('GET /', 'content')).toMatch(/^HTTP\/1.1 200/);
});

test('an instance that refuses connections is answered for with 502, and its request counted', async () => {
  const proxy = scene();
  const app = await backend('1');
  await app.kill();
  await proxy.apply({ routes: [route('a', app)] });
  const answer = await fetch(proxy.url, { method: 'POST', body: 'x' });
  expect(answer.status).toBe(502);
  expect(answer.headers.get('x-unideploy-proxy')).toBe('no-instance');
  expect(proxy.status()).toMatchObject({ requests: 1, failures: 1 });
});
