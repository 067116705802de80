import { describe, expect, test } from 'vitest';
import { ENGINES, eventually, sharedStage } from '../engines.ts';
import { backend, route, until } from '../scene.ts';
import { answering, answerTo, bareInstance, deadPort, dial } from './wire.ts';

const ASK = 'GET / HTTP/1.1\r\nHost: a\r\n\r\n';
/** at once: what an instance has to wait, at most, in milliseconds */
const ONCE = 1_000;

describe.each(ENGINES)('$engine', { timeout: 60_000 }, ({ engine, open }) => {
  const at = sharedStage(open);
  const nothingInFlight = () =>
    eventually('nothing is in flight', async () =>
      (await at().status()).routes.every(({ inFlight }) => inFlight === 0),
    );

  describe.each(['destroy', 'resetAndDestroy'] as const)('a client that goes away (%s)', (leave) => {
    test.each([
      ['before its answer', ASK, ''],
      ['within its answer', ASK, 'HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\npart'],
      ['within a chunked answer', ASK, 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\npart\r\n'],
      ['within an answer until the end', ASK, 'HTTP/1.1 200 OK\r\n\r\npart'],
      ['within its upload', 'POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\npart', ''],
      [
        'within a chunked upload',
        'POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n4\r\npart\r\n',
        '',
      ],
    ])('%s lets the instance go at once', async (_when, request, answer) => {
      const app = await bareInstance(({ socket }) => socket.once('data', () => socket.write(answer)));
      await at().apply({ routes: [route('a', app)] });
      const wire = await dial(at().port());
      wire.socket.write(request);
      const asked = () => app.connections.find((each) => each.received() !== '');
      await until('the instance is asked', () => asked() !== undefined);
      if (request !== ASK)
        await until('and gets the part', () => Boolean(asked()?.received().includes('part')));
      if (answer !== '') await until('the answer has begun', () => wire.received().includes('part'));
      wire.socket[leave]();
      await until('the instance is let go', () => asked()?.ended() || asked()?.closed() === true, ONCE);
      await nothingInFlight();
      expect(await at().status()).toMatchObject({ failures: 0 });
    });
  });

  test('a client that goes away while its answer is held up by it lets the instance go', async () => {
    let closed = false;
    const app = await backend((_req, res) => {
      res.write(Buffer.alloc(32 << 20));
      res.once('close', () => {
        closed = true;
      });
    });
    await at().apply({ routes: [route('a', app)] });
    const wire = await dial(at().port());
    wire.socket.pause();
    wire.socket.write(ASK);
    await until('the instance is asked', () => app.requests === 1);
    wire.socket.resetAndDestroy();
    await until('the instance is let go', () => closed, ONCE);
    await nothingInFlight();
  });

  test.each([
    ['of known length', 'Content-Length: 1000\r\n\r\npart'],
    ['in chunks', 'Transfer-Encoding: chunked\r\n\r\n4\r\npart\r\n'],
    ['within a chunk', 'Transfer-Encoding: chunked\r\n\r\nff\r\npart'],
  ])('an answer %s that its instance does not finish is broken for the client', async (_kind, rest) => {
    for (const leave of ['end', 'resetAndDestroy'] as const) {
      const app = await answering(`HTTP/1.1 200 OK\r\n${rest}`, (socket) => socket[leave]());
      await at().apply({ routes: [route('a', app)] });
      await expect(fetch(at().url()).then((res) => res.text())).rejects.toThrow();
      const answer = await answerTo(at().port(), ASK);
      expect(answer).not.toContain('\r\n0\r\n\r\n');
      // HTTP/1.0 knows an end of the body by that of the connection: then it has to be a length that is missed
      expect(answer).toMatch(/\r\n(content-length: 1000|transfer-encoding: chunked)\r\n/i);
    }
  });

  test('where every instance refuses, the client is told, and its request is counted', async () => {
    await at().apply({ routes: [route('a', await deadPort()), route('b', await deadPort())] });
    const answer = await fetch(at().url(), { method: 'POST', body: 'x' });
    expect(answer.status).toBe(engine === 'embedded' ? 502 : 503);
    expect(answer.headers.get('x-unideploy-proxy')).toBe('no-instance');
    await eventually('it is counted', async () => (await at().status()).failures === 1);
    expect((await at().status()).requests).toBe(1);
  });

  test('an answer that is no HTTP is answered for with 502', async () => {
    for (const nonsense of [
      'SSH-2.0-x\r\n\r\n',
      'HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n',
      'HTTP/1.1 200 OK\r\nno colon\r\n\r\n',
    ]) {
      await at().apply({ routes: [route('a', await answering(nonsense))] });
      expect((await fetch(at().url())).status).toBe(502);
    }
  });

  test('what an instance sends after its answer reaches nobody', async () => {
    const app = await answering(
      'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison',
    );
    await at().apply({ routes: [route('a', app)] });
    for (let n = 0; n < 10; n++) expect(await (await fetch(at().url())).text()).toBe('ok');
  });
});
