import { request } from 'node:http';
import { expect, test } from 'vitest';
import { bodyOf } from '../../support/http/backend.ts';
import { failedOf, startLoad } from '../../support/http/load.ts';
import { backend, openWire, route, scene, until } from './scene.ts';

test('held requests go on in the order in which they came, bodies included', async () => {
  const proxy = scene();
  const order: string[] = [];
  const app = await backend(async (req, res) => {
    order.push(String(req.headers['x-n']));
    res.end(await bodyOf(req));
  });
  await proxy.apply({ hold: true, routes: [route('a', app)] });

  const answers: Promise<string>[] = [];
  for (let n = 0; n < 100; n++) {
    answers.push(
      fetch(proxy.url, { method: 'POST', body: `body ${n}`, headers: { 'x-n': String(n) } }).then((res) =>
        res.text(),
      ),
    );
    await until('the request waits', () => proxy.status().held === n + 1);
  }
  expect(app.requests).toBe(0);
  await proxy.apply({ routes: [route('a', app)] });

  expect(await Promise.all(answers)).toEqual(answers.map((_, n) => `body ${n}`));
  expect(order).toEqual(answers.map((_, n) => String(n)));
  expect(proxy.status()).toMatchObject({ held: 0, failures: 0 });
});

test('short holds under load fail no request', async () => {
  const proxy = scene();
  const app = await backend('1');
  await proxy.apply({ routes: [route('a', app)] });
  const load = startLoad({ url: proxy.url, connections: 64 });
  for (let round = 0; round < 3; round++) {
    const ok = load.ledger.ok;
    await until('load before the hold', () => load.ledger.ok >= ok + 300, 20_000);
    await proxy.apply({ hold: true, routes: [route('a', app)] });
    expect(await proxy.plane.drained('shop', 'a', 5_000)).toMatchObject({ cut: 0 });
    await until('all connections wait', () => proxy.status().held === 64);
    await proxy.apply({ routes: [route('a', app)] });
  }
  const ledger = await load.stop();
  expect(ledger.failures).toEqual([]);
  expect(failedOf(ledger)).toBe(0);
});

test('a table whose routes all have weight 0 holds; an empty table refuses at once', async () => {
  const proxy = scene();
  const app = await backend('1');
  await proxy.apply({ routes: [route('a', app, { weight: 0 })] });
  const held = fetch(proxy.url);
  await until('the request waits', () => proxy.status().held === 1);
  await proxy.apply({ routes: [route('a', app)] });
  expect((await held).status).toBe(200);

  await proxy.apply({ routes: [] });
  const refused = await fetch(proxy.url);
  expect(refused.status).toBe(503);
  expect(refused.headers.get('retry-after')).toBe('1');
  expect(refused.headers.get('x-unideploy-proxy')).toBe('no-instance');
});

test('the hold is bounded: one request too many gets 503 with Retry-After', async () => {
  const proxy = scene();
  const app = await backend('1');
  await proxy.apply({ hold: true, routes: [route('a', app)] });
  const load = startLoad({ url: proxy.url, connections: 1_000 });
  await until('the hold is full', () => proxy.status().held === 1_000, 20_000);
  const refused = await fetch(proxy.url);
  expect(refused.status).toBe(503);
  expect(refused.headers.get('retry-after')).toBe('1');
  expect(refused.headers.get('x-unideploy-proxy')).toBe('hold-full');
  await proxy.apply({ routes: [route('a', app)] });
  const ledger = await load.stop();
  expect(ledger.failures).toEqual([]);
});

test('a client that goes away leaves the hold', async () => {
  const proxy = scene();
  const app = await backend('1');
  await proxy.apply({ hold: true, routes: [route('a', app)] });
  const wire = await openWire(proxy.port);
  wire.socket.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n');
  await until('the request waits', () => proxy.status().held === 1);
  wire.socket.destroy();
  await until('the request is forgotten', () => proxy.status().held === 0);
});

test('an upload of a held request is asked for only when its turn comes', async () => {
  const proxy = scene();
  const app = await backend(async (req, res) => res.end(await bodyOf(req)));
  await proxy.apply({ hold: true, routes: [route('a', app)] });
  let asked = false;
  const upload = request(proxy.url, { method: 'POST', headers: { expect: '100-continue' } });
  const answer = new Promise<string>((resolve, reject) => {
    upload.once('response', (res) => resolve(bodyOf(res)));
    upload.once('error', reject);
  });
  upload.once('continue', () => {
    asked = true;
    upload.end('the body');
  });
  upload.flushHeaders();
  await until('the request waits', () => proxy.status().held === 1);
  expect(asked).toBe(false);
  await proxy.apply({ routes: [route('a', app)] });
  expect(await answer).toBe('the body');
});
