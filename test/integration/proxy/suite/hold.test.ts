import { request } from 'node:http';
import { describe, expect, test } from 'vitest';
import { DEFAULT_TRAFFIC } from '../../../../src/domain/traffic.ts';
import { bodyOf } from '../../../support/http/backend.ts';
import { startBareLoad } from '../../../support/http/bare-load.ts';
import { failedOf, startLoad } from '../../../support/http/load.ts';
import { ENGINES, eventually, sharedStage } from '../engines.ts';
import { backend, openWire, route, until } from '../scene.ts';

describe.each(ENGINES)('$engine', { timeout: 60_000 }, ({ engine, open }) => {
  const at = sharedStage(open);

  const held = (number: number) =>
    eventually(`${number} wait`, async () => (await at().status()).held === number);

  test('held requests go on in the order in which they came, bodies included', async () => {
    const { apply, status, url } = at();
    const order: number[] = [];
    const app = await backend(async (req, res) => {
      order.push(Number(req.headers['x-n']));
      res.end(await bodyOf(req));
    });
    await apply({ hold: true, routes: [route('a', app)] });
    const answers: Promise<string>[] = [];
    for (let n = 0; n < 50; n++) {
      const asked = fetch(url(), { method: 'POST', body: `body ${n}`, headers: { 'x-n': String(n) } });
      answers.push(asked.then((res) => res.text()));
      await held(n + 1);
    }
    expect(app.requests).toBe(0);
    await apply({ routes: [route('a', app)] });
    expect(await Promise.all(answers)).toEqual(answers.map((_, n) => `body ${n}`));
    // with HAProxy each looks for itself every few milliseconds
    const sorted = engine === 'embedded' ? order : order.toSorted((a, b) => a - b);
    expect(sorted).toEqual(answers.map((_, n) => n));
    expect(await status()).toMatchObject({ held: 0, failures: 0, holds: 50 });
  });

  test('short holds under load fail no request', async () => {
    const { plane, apply, url } = at();
    const app = await backend('1');
    await apply({ routes: [route('a', app)] });
    const load = startLoad({ url: url(), connections: 64 });
    for (let round = 0; round < 3; round++) {
      const { ok } = load.ledger;
      await until('load before the hold', () => load.ledger.ok >= ok + 300, 20_000);
      await apply({ hold: true, routes: [route('a', app)] });
      expect(await plane.drained('shop', 'a', 5_000)).toMatchObject({ cut: 0 });
      await held(64);
      await apply({ routes: [route('a', app)] });
    }
    const ledger = await load.stop();
    expect(ledger.failures).toEqual([]);
    expect(failedOf(ledger)).toBe(0);
  });

  test('a table whose routes all have weight 0 holds; an empty table refuses at once, unless it is told to hold', async () => {
    const { apply, status, url } = at();
    const app = await backend('1');
    await apply({ routes: [route('a', app, { weight: 0 })] });
    const waiting = fetch(url());
    await held(1);
    await apply({ routes: [route('a', app)] });
    expect((await waiting).status).toBe(200);
    await apply({ routes: [] });
    expect(await refusalOf(await fetch(url()))).toEqual([503, 'no-instance', '1']);
    expect((await status()).refused).toEqual({ 'no-instance': 1 });
    await apply({ hold: true, routes: [] });
    const next = fetch(url());
    await held(1);
    await apply({ routes: [route('a', app)] });
    expect((await next).status).toBe(200);
  });

  test('those that wait when the table becomes empty, or the service is removed, are refused', async () => {
    const { apply, plane, url } = at();
    const app = await backend('1');
    for (const end of [() => apply({ routes: [] }), () => plane.remove('shop', 1_000)]) {
      await apply({ hold: true, routes: [route('a', app)] });
      const waiting = fetch(url());
      await held(1);
      await end();
      expect(await refusalOf(await waiting)).toEqual([503, 'no-instance', '1']);
    }
    expect(app.requests).toBe(0);
  });

  test('one request more than may wait gets 503 with Retry-After, and those that wait are answered', async () => {
    const { apply, status, url } = at();
    const app = await backend('1');
    const traffic = { hold: { ...DEFAULT_TRAFFIC.hold, requests: 20 } };
    await apply({ traffic, hold: true, routes: [route('a', app)] });
    const load = startBareLoad({ url: url(), connections: 20, requests: 20 });
    await held(20);
    expect(await refusalOf(await fetch(url()))).toEqual([503, 'hold-full', '1']);
    await apply({ traffic, routes: [route('a', app)] });
    expect((await load.ended).failures).toEqual([]);
    expect((await status()).refused).toEqual({ 'hold-full': 1 });
  });

  test('by default a thousand may wait', async () => {
    const { apply, url } = at();
    const app = await backend('1');
    await apply({ hold: true, routes: [route('a', app)] });
    const load = startBareLoad({ url: url(), connections: 1_000, requests: 1_000 });
    await held(1_000);
    expect(await refusalOf(await fetch(url()))).toEqual([503, 'hold-full', '1']);
    await apply({ routes: [route('a', app)] });
    expect((await load.ended).failures).toEqual([]);
  });

  test('requests of more bytes than may wait get 503 with Retry-After', async () => {
    const { apply, url } = at();
    const app = await backend('1');
    const traffic = { hold: { ...DEFAULT_TRAFFIC.hold, bytes: 5_000 } };
    await apply({ traffic, hold: true, routes: [route('a', app)] });
    const large = { headers: { 'x-large': 'x'.repeat(3_000) } };
    const waiting = [fetch(url(), large)];
    await held(1);
    expect(await refusalOf(await fetch(url(), large))).toEqual([503, 'hold-full', '1']);
    waiting.push(fetch(url()));
    await held(2);
    await apply({ traffic, routes: [route('a', app)] });
    expect((await Promise.all(waiting)).map(({ status }) => status)).toEqual([200, 200]);
  });

  test('a request that has waited for its time gets 503 with Retry-After', async () => {
    const { apply, status, url } = at();
    const app = await backend('1');
    const traffic = { hold: { ...DEFAULT_TRAFFIC.hold, time: 400 } };
    await apply({ traffic, hold: true, routes: [route('a', app)] });
    const began = performance.now();
    expect(await refusalOf(await fetch(url()))).toEqual([503, 'hold-timeout', '1']);
    expect(performance.now() - began).toBeGreaterThanOrEqual(390);
    expect(await status()).toMatchObject({ held: 0, holds: 1, refused: { 'hold-timeout': 1 } });
    expect(app.requests).toBe(0);
  });

  test('the health path is answered while requests are held, and is the instance’s own otherwise', async () => {
    const { apply, url } = at();
    const app = await backend((_req, res) => void res.writeHead(204).end());
    const traffic = { hold: { ...DEFAULT_TRAFFIC.hold, health: '/up' } };
    await apply({ traffic, hold: true, routes: [route('a', app)] });
    for (let n = 0; n < 3; n++) {
      const answer = await fetch(`${url()}up`);
      expect([answer.status, answer.headers.get('x-unideploy-proxy')]).toEqual([200, 'held']);
    }
    const waiting = fetch(`${url()}upper`);
    await held(1);
    expect(app.requests).toBe(0);
    await apply({ traffic, routes: [route('a', app)] });
    expect((await waiting).status).toBe(204);
    expect((await fetch(`${url()}up`)).status).toBe(204);
  });

  test('a client that goes away leaves the hold, and its request reaches nobody', async () => {
    const { apply, port, url } = at();
    const app = await backend('1');
    await apply({ hold: true, routes: [route('a', app)] });
    const wire = await openWire(port());
    wire.socket.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n');
    await held(1);
    wire.socket.destroy();
    await held(0);
    await apply({ routes: [route('a', app)] });
    expect((await fetch(url())).status).toBe(200);
    expect(app.requests).toBe(1);
  });

  test('an upload is asked for only when its turn comes', async () => {
    const { apply, url } = at();
    const app = await backend(async (req, res) => res.end(await bodyOf(req)));
    await apply({ hold: true, routes: [route('a', app)] });
    let asked = false;
    const upload = request(url(), { method: 'POST', headers: { expect: '100-continue' } });
    const answer = new Promise<string>((resolve, reject) => {
      upload.once('response', (res) => resolve(bodyOf(res)));
      upload.once('error', reject);
    });
    upload.once('continue', () => {
      asked = true;
      upload.end('the body');
    });
    upload.flushHeaders();
    await held(1);
    expect(asked).toBe(false);
    await apply({ routes: [route('a', app)] });
    expect(await answer).toBe('the body');
  });

  test('of a large upload little is read while it waits, and all of it arrives', async () => {
    const { apply, port } = at();
    let arrived = 0;
    const app = await backend((req, res) => {
      req.on('data', (piece: Buffer) => {
        arrived += piece.length;
      });
      req.once('end', () => res.end('thanks'));
    });
    await apply({ hold: true, routes: [route('a', app)] });
    const size = 32 << 20;
    const wire = await openWire(port());
    wire.socket.write(`POST / HTTP/1.1\r\nHost: a\r\nContent-Length: ${size}\r\n\r\n`);
    wire.socket.write(Buffer.alloc(size));
    await held(1);
    let before = -1;
    await eventually('the client has to wait', async () => {
      const same = before === wire.socket.bytesWritten - wire.socket.writableLength;
      before = wire.socket.bytesWritten - wire.socket.writableLength;
      await new Promise((resolve) => setImmediate(resolve));
      return same;
    });
    expect(wire.socket.writableLength).toBeGreaterThan(0);
    await apply({ routes: [route('a', app)] });
    await until('the answer', () => wire.received().includes('thanks'), 20_000);
    expect(arrived).toBe(size);
  });
});

async function refusalOf(answer: Response): Promise<[number, string | null, string | null]> {
  await answer.text();
  return [answer.status, answer.headers.get('x-unideploy-proxy'), answer.headers.get('retry-after')];
}
