import type { ServerResponse } from 'node:http';
import { describe, expect, test } from 'vitest';
import { ENGINES, eventually, sharedStage } from '../engines.ts';
import { backend, openWire, route, until } from '../scene.ts';

/** How a client learns that its POST was cut. */
const CUT = { embedded: [503, 'drain-deadline'], haproxy: [502, 'upstream'] };

describe.each(ENGINES)('$engine', { timeout: 60_000 }, ({ engine, open }) => {
  const at = sharedStage(open);

  test('a drain waits for the request in flight, also when the instance has left the table', async () => {
    const { plane, apply, url } = at();
    const { app: slow, waiting } = await slowBackend();
    await apply({ routes: [route('slow', slow)] });
    const answer = fetch(url()).then((res) => res.text());
    await until('the request is there', () => waiting.length === 1);
    await apply({ routes: [route('other', await backend('2'))] });
    let drained = false;
    const drain = plane.drained('shop', 'slow', 10_000).then((result) => {
      drained = true;
      return result;
    });
    expect(await (await fetch(url())).text()).toBe('revision 2\n');
    expect(drained).toBe(false);
    waiting[0]?.end('late but whole');
    expect(await answer).toBe('late but whole');
    expect(await drain).toEqual({ cut: 0, websockets: 0, streams: 0 });
    await until('no connection to the instance is left', () => slow.sockets.size === 0);
  });

  test('at the deadline what is left is cut, counted and told to the client', async () => {
    const { plane, apply, status, url } = at();
    const { app: slow, waiting } = await slowBackend();
    await apply({ routes: [route('slow', slow)] });
    const silent = fetch(url());
    const posted = fetch(url(), { method: 'POST', body: 'x' });
    const broken = expect(fetch(`${url()}begun`).then((res) => res.text())).rejects.toThrow();
    await until('all are there', () => waiting.length === 3);
    await apply({ routes: [route('slow', slow, { weight: 0 })] });
    expect(await plane.drained('shop', 'slow', 50)).toMatchObject({ cut: 3 });
    expect((await silent).status).toBe(503);
    expect(await reasonOf(posted)).toEqual(CUT[engine]);
    await broken;
    await eventually('nothing is in flight', async () => (await status()).routes[0]?.inFlight === 0);
    await until('the instance is left alone', () => slow.sockets.size === 0);
  });

  test('a GET that is cut before its answer began gets 503, with HAProxy the answer of another instance', async () => {
    const { plane, apply, url } = at();
    const { app: slow, waiting } = await slowBackend();
    await apply({ routes: [route('slow', slow)] });
    const answer = fetch(url());
    await until('the request is there', () => waiting.length === 1);
    await apply({ routes: [route('slow', slow, { weight: 0 }), route('other', await backend('2'))] });
    expect(await plane.drained('shop', 'slow', 50)).toMatchObject({ cut: 1 });
    expect((await answer).status).toBe(engine === 'embedded' ? 503 : 200);
  });

  test('an instance that nobody knows is drained at once, and so is one of an unknown service', async () => {
    const { plane, apply } = at();
    await apply({ routes: [] });
    expect(await plane.drained('shop', 'nobody', 60_000)).toMatchObject({ cut: 0 });
    expect(await plane.drained('nowhere', 'nobody', 60_000)).toMatchObject({ cut: 0 });
  });

  test('a drain closes the idle connections of the instance', async () => {
    const { plane, apply, url } = at();
    const app = await backend('1');
    await apply({ routes: [route('a', app)] });
    await (await fetch(url())).text();
    expect(app.sockets.size).toBeGreaterThan(0);
    await apply({ routes: [route('a', app, { weight: 0 })] });
    expect(await plane.drained('shop', 'a', 1_000)).toMatchObject({ cut: 0 });
    await until('the connection is closed', () => app.sockets.size === 0, 900);
  });

  test('kept-alive clients of an instance that is drained keep their connections, and are served by another', async () => {
    const { plane, apply, port } = at();
    const [a, b] = [await backend('1'), await backend('2')];
    await apply({ routes: [route('a', a)] });
    const wire = await openWire(port());
    wire.socket.write(GET);
    await until('the first answer', () => wire.received().includes('revision 1'));
    await apply({ routes: [route('a', a, { weight: 0 }), route('b', b)] });
    await plane.drained('shop', 'a', 1_000);
    await a.kill();
    wire.socket.write(GET);
    await until('the second answer', () => wire.received().includes('revision 2'));
    expect(wire.received()).not.toMatch(/connection: close/i);
  });

  test('kept-alive clients of a service that is removed are told to close, the idle ones after a moment', async () => {
    const { plane, apply, port } = at();
    const { app, waiting } = await slowBackend();
    await apply({ routes: [route('a', app)] });
    const [busy, idle] = [await openWire(port()), await openWire(port())];
    busy.socket.write(GET);
    idle.socket.write(GET.replace('/', '/quick'));
    await until('the answer', () => idle.received().includes('quick'));
    await until('the request is there', () => waiting.length === 1);
    const removed = plane.remove('shop', 10_000);
    await eventually('the service is gone', async () => (await plane.status()).length === 0);
    waiting[0]?.end('whole');
    await until('both are closed', () => busy.closed() && idle.closed());
    expect(busy.received()).toMatch(/^HTTP\/1\.1 200 OK\r\n[\s\S]*\r\nconnection: close\r\n[\s\S]*whole/i);
    await removed;
  });

  test('kept-alive clients of a service that moves to another port are told to close, and their requests answered', async () => {
    const { apply, port } = at();
    const app = await backend('1');
    await apply({ routes: [route('a', app)] });
    const before = port();
    const wire = await openWire(before);
    wire.socket.write(GET);
    await until('the first answer', () => wire.received().includes('revision 1'));
    expect(wire.received()).not.toMatch(/connection: close/i);
    await apply({ routes: [route('a', app)], listen: { host: '127.0.0.1', port: await freePort() } });
    expect(port()).not.toBe(before);
    wire.socket.write(GET);
    await until('it is closed', () => wire.closed());
    const second = wire.received().slice(wire.received().lastIndexOf('HTTP/1.1'));
    expect(second).toMatch(/^HTTP\/1\.1 200 OK\r\n[\s\S]*revision 1/);
    expect(second).toMatch(/\r\nconnection: close\r\n/i);
    expect(wire.received().split('HTTP/1.1 200 OK')).toHaveLength(3);
  });
});

/** An instance that answers when the test says so; `/begun` begins, `/quick` is answered at once. */
async function slowBackend() {
  const waiting: ServerResponse[] = [];
  const app = await backend((req, res) => {
    if (req.url === '/quick') {
      res.end('quick');
      return;
    }
    if (req.url === '/begun') res.write('part');
    waiting.push(res);
  });
  return { app, waiting };
}

async function reasonOf(answer: Promise<Response>): Promise<[number, string | null]> {
  const { status, headers } = await answer;
  return [status, headers.get('x-unideploy-proxy')];
}

async function freePort(): Promise<number> {
  const server = await backend();
  await server.kill();
  return server.port;
}

const GET = 'GET / HTTP/1.1\r\nHost: a\r\n\r\n';
