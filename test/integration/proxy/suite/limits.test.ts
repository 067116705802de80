import { once } from 'node:events';
import { request } from 'node:http';
import { describe, expect, test } from 'vitest';
import { DEFAULT_TRAFFIC } from '../../../../src/domain/traffic.ts';
import { bodyOf } from '../../../support/http/backend.ts';
import { ENGINES, eventually, sharedStage } from '../engines.ts';
import { backend, route, until } from '../scene.ts';
import { answerTo, bareInstance, dial, headOf } from './wire.ts';

describe.each(ENGINES)('$engine', { timeout: 60_000 }, ({ engine, open }) => {
  const at = sharedStage(open);

  test('a head over the limit is refused with 431', async () => {
    const app = await backend('1');
    await at().apply({ traffic: { limits: { head: 8_000, body: null } }, routes: [route('a', app)] });
    const ask = (bytes: number) =>
      headOf(at().port(), `GET / HTTP/1.1\r\nHost: a\r\nX: ${'x'.repeat(bytes)}\r\n\r\n`);
    expect(await ask(7_000)).toMatch(/^HTTP\/1\.1 200 /);
    expect(await ask(9_000)).toMatch(/^HTTP\/1\.1 431 /);
    expect(await headOf(at().port(), `GET /${'x'.repeat(9_000)} HTTP/1.1\r\nHost: a\r\n\r\n`)).toMatch(
      /^HTTP\/1\.1 431 /,
    );
    expect(app.requests).toBe(1);
  });

  describe('a body over the limit is refused with 413', () => {
    const limits = { head: 16_384, body: 1_000 };
    const reason = (res: Response) => [res.status, res.headers.get('x-unideploy-proxy')];

    test('where its length is declared, before an instance hears of it', async () => {
      const app = await backend(async (req, res) => res.end(`${(await bodyOf(req)).length}`));
      await at().apply({ traffic: { limits }, routes: [route('a', app)] });
      const post = (bytes: number) => fetch(at().url(), { method: 'POST', body: 'x'.repeat(bytes) });
      expect(await (await post(1_000)).text()).toBe('1000');
      expect(reason(await post(1_001))).toEqual([413, 'too-large']);
      expect(app.requests).toBe(1);
    });

    test('where it comes in chunks, as soon as there are too many', async () => {
      let whole = 0;
      const app = await backend((req, res) => {
        req.on('error', () => undefined);
        req.resume().once('end', () => {
          whole++;
          res.end('whole');
        });
      });
      await at().apply({ traffic: { limits }, routes: [route('a', app)] });
      const post = (...sizes: number[]) =>
        headOf(
          at().port(),
          `POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n${[...sizes, 0]
            .map((size) => `${size.toString(16)}\r\n${'x'.repeat(size)}${size > 0 ? '\r\n' : ''}`)
            .join('')}\r\n`,
        );
      expect(await post(400, 600)).toMatch(/^HTTP\/1\.1 200 /);
      const refused = await post(400, 601);
      // HAProxy looks at declared lengths alone
      expect(refused).toMatch(engine === 'embedded' ? /^HTTP\/1\.1 413 / : /^HTTP\/1\.1 200 /);
      expect(whole).toBe(engine === 'embedded' ? 1 : 2);
    });
  });

  describe('a client that is slow', () => {
    const slow = { ...DEFAULT_TRAFFIC.timeouts, head: 300, body: 300, idle: 300 };

    test('over its head is told 408', async () => {
      const app = await backend('1');
      await at().apply({ traffic: { timeouts: { ...slow, idle: 60_000 } }, routes: [route('a', app)] });
      const began = Date.now();
      expect(await answerTo(at().port(), 'GET / HTTP/1.1\r\nHost:')).toMatch(/^HTTP\/1\.1 408 /);
      expect(Date.now() - began).toBeLessThan(2_000);
      expect(app.requests).toBe(0);
    });

    test('over its head, however it dribbles', async () => {
      const app = await backend('1');
      await at().apply({ traffic: { timeouts: { ...slow, idle: 60_000 } }, routes: [route('a', app)] });
      const wire = await dial(at().port());
      wire.socket.write('GET / HTTP/1.1\r\nX: ');
      const dribble = setInterval(() => wire.socket.write('x'), 50);
      await until('it is told', () => wire.received() !== '' || wire.closed());
      clearInterval(dribble);
      expect(wire.received()).toMatch(/^HTTP\/1\.1 408 /);
    });

    test('over its body is told 408 (by HAProxy 504), and the instance let go', async () => {
      const app = await bareInstance();
      // HAProxy counts it as the instance's time
      const timeouts = engine === 'embedded' ? slow : { ...slow, response: 300 };
      await at().apply({ traffic: { timeouts }, routes: [route('a', app)] });
      const answer = await answerTo(
        at().port(),
        'POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\npart',
      );
      expect(answer).toMatch(engine === 'embedded' ? /^HTTP\/1\.1 408 / : /^HTTP\/1\.1 504 /);
      await until('the instance is let go', () =>
        app.connections.every((each) => each.ended() || each.closed()),
      );
    });

    test('to read its answer is cut off, and the instance let go', async () => {
      let closed = false;
      const app = await backend((_req, res) => {
        res.once('close', () => {
          closed = true;
        });
        res.write(Buffer.alloc(64 << 20));
      });
      await at().apply({ traffic: { timeouts: slow }, routes: [route('a', app)] });
      const wire = await dial(at().port());
      wire.socket.pause();
      wire.socket.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n');
      await until('the instance is let go', () => closed);
      wire.socket.resume();
      await until('the client is cut off', () => wire.closed() || wire.ended());
      expect(wire.received().length).toBeLessThan(64 << 20);
    });

    test('but goes on is served, upload and download', async () => {
      const app = await backend((req, res) => req.pipe(res));
      await at().apply({ traffic: { timeouts: slow }, routes: [route('a', app)] });
      const upload = request(at().url(), { method: 'POST' });
      const answered = once(upload, 'response');
      let pieces = 0;
      await new Promise<void>((resolve) => {
        const timer = setInterval(() => {
          upload.write('piece');
          if (++pieces < 15) return;
          clearInterval(timer);
          upload.end();
          resolve();
        }, 50);
      });
      const [res] = await answered;
      expect(await bodyOf(res)).toBe('piece'.repeat(15));
    });

    test('to ask again is let go, without a word', async () => {
      await at().apply({ traffic: { timeouts: slow }, routes: [route('a', await backend('1'))] });
      const wire = await dial(at().port());
      wire.socket.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n');
      await until('the answer', () => wire.received().endsWith('0\r\n\r\n'));
      const { length } = wire.received();
      await until('the end', () => wire.ended());
      expect(wire.received()).toHaveLength(length);
      const silent = await dial(at().port());
      await until('the end', () => silent.ended());
      // HAProxy tells one that has never asked
      if (engine === 'embedded') expect(silent.received()).toBe('');
      else expect(silent.received()).toMatch(/^HTTP\/1\.1 408 /);
    });
  });

  test('an instance that does not answer in time is answered for with 504, and not asked again', async () => {
    const app = await bareInstance();
    const timeouts = { ...DEFAULT_TRAFFIC.timeouts, response: 300 };
    await at().apply({ traffic: { timeouts }, routes: [route('a', app), route('b', app)] });
    const answer = await fetch(at().url());
    expect([answer.status, answer.headers.get('x-unideploy-proxy')]).toEqual([504, 'response-timeout']);
    expect(app.connections.filter((each) => each.received() !== '')).toHaveLength(1);
    await eventually('it is counted', async () => (await at().status()).failures === 1);
  });
});
