import { once } from 'node:events';
import type { ServerResponse } from 'node:http';
import { describe, expect, onTestFinished, test } from 'vitest';
import { WebSocket, WebSocketServer } from 'ws';
import type { Backend } from '../../../support/http/backend.ts';
import { ENGINES, sharedStage } from '../engines.ts';
import { backend, openWire, route, until, type Wire } from '../scene.ts';

/** HAProxy cannot take leave of a client: it breaks the connection. */
const GOODBYE = { embedded: 1001, haproxy: 1006 };

describe.each(ENGINES)('$engine', { timeout: 60_000 }, ({ engine, open }) => {
  const at = sharedStage(open);

  test('WebSockets get the close frame 1001 at both ends when their own grace is over', async () => {
    const { plane, apply, port } = at();
    const chat = await chatBackend();
    const traffic = { drain: { websocket: 300, events: 60_000 } };
    await apply({ traffic, routes: [route('a', chat.app)] });
    const clients = await Promise.all([connected(port()), connected(port())]);
    await until('all are at the instance', () => chat.ends.length === 2);
    await apply({ traffic, routes: [route('a', chat.app, { weight: 0 })] });
    const began = performance.now();
    const drained = plane.drained('shop', 'a', 20_000);
    expect(await echoed(clients[0] as WebSocket, 'still there')).toBe('still there');
    const codes = await Promise.all(clients.map((client) => once(client, 'close').then(([code]) => code)));
    expect(performance.now() - began).toBeGreaterThanOrEqual(290);
    expect(codes).toEqual([GOODBYE[engine], GOODBYE[engine]]);
    await until('the instance has seen it', () => chat.codes.length === 2);
    expect(chat.codes).toEqual([GOODBYE[engine], GOODBYE[engine]]);
    expect(await drained).toEqual({ cut: 0, websockets: 2, streams: 0 });
  });

  test('a WebSocket that ends by itself is waited for, and was not told to go', async () => {
    const { plane, apply, port } = at();
    const chat = await chatBackend();
    await apply({ routes: [route('a', chat.app)] });
    const client = await connected(port());
    const drained = plane.drained('shop', 'a', 20_000);
    client.close(1000);
    expect(await drained).toEqual({ cut: 0, websockets: 0, streams: 0 });
  });

  test('a WebSocket that is still there at the deadline is cut', async () => {
    const { plane, apply, port } = at();
    const chat = await chatBackend();
    await apply({ routes: [route('a', chat.app)] });
    const client = await connected(port());
    const closed = once(client, 'close');
    expect(await plane.drained('shop', 'a', 100)).toEqual({ cut: 1, websockets: 0, streams: 0 });
    await closed;
    await until('the instance is rid of it', () => chat.app.sockets.size === 0);
  });

  test('an event stream ends after its own grace, between two events, and looks whole', async () => {
    const { plane, apply, port } = at();
    const { app, streams } = await eventBackend();
    const traffic = { drain: { websocket: 60_000, events: 300 } };
    await apply({ traffic, routes: [route('a', app)] });
    const wire = await eventStream(port());
    streams[0]?.write('data: 2\n');
    await until('half an event', () => wire.received().includes('data: 2'));
    await apply({ traffic, routes: [route('a', app, { weight: 0 })] });
    const began = performance.now();
    const drained = plane.drained('shop', 'a', 20_000);
    if (engine === 'haproxy') {
      await until('it is broken', () => wire.closed());
      expect(performance.now() - began).toBeGreaterThanOrEqual(290);
      expect(await drained).toEqual({ cut: 0, websockets: 0, streams: 1 });
      return;
    }
    await until('the grace is over', () => performance.now() - began > 600);
    expect(wire.closed()).toBe(false);
    streams[0]?.write('data: more of 2\n\ndata: 3\n');
    await until('it is ended', () => wire.closed());
    expect(eventsOf(wire)).toBe('data: 1\n\ndata: 2\ndata: more of 2\n\n');
    // the chunk of length 0: the client sees an end, not a break
    expect(wire.received()).toMatch(/\r\n0\r\n\r\n$/);
    expect(await drained).toEqual({ cut: 0, websockets: 0, streams: 1 });
    await until('the instance is told', () => app.sockets.size === 0);
  });

  test('an idle event stream ends as soon as its grace is over; a plain answer goes on', async () => {
    const { plane, apply, port, url } = at();
    const { app, streams } = await eventBackend();
    const traffic = { drain: { websocket: 60_000, events: 100 } };
    await apply({ traffic, routes: [route('a', app)] });
    const wire = await eventStream(port());
    const download = fetch(`${url()}download`).then((res) => res.text());
    await until('the download has begun', () => streams.length === 2);
    const drained = plane.drained('shop', 'a', 20_000);
    await until('the stream is ended', () => wire.closed());
    streams[1]?.end('whole');
    expect(await download).toBe('data: 1\n\nwhole');
    expect(await drained).toEqual({ cut: 0, websockets: 0, streams: 1 });
  });

  test('WebSockets, event streams and answers that outlast a drain are counted each for what became of them', async () => {
    const { plane, apply, port, url } = at();
    const { app, streams } = await eventBackend();
    const chat = await chatBackend(app);
    const traffic = { drain: { websocket: 100, events: 100 } };
    await apply({ traffic, routes: [route('a', app)] });
    const client = await connected(port());
    const closed = once(client, 'close');
    const wire = await eventStream(port());
    const broken = expect(fetch(`${url()}download`).then((res) => res.text())).rejects.toThrow();
    await until('all have begun', () => streams.length === 2 && chat.ends.length === 1);
    expect(await plane.drained('shop', 'a', 1_500)).toEqual({ cut: 1, websockets: 1, streams: 1 });
    await Promise.all([closed, broken]);
    await until('the stream is ended', () => wire.closed());
  });
});

/** An instance that says back what WebSockets bring. */
async function chatBackend(app?: Backend) {
  const made = app ?? (await backend('1'));
  const ends: WebSocket[] = [];
  const codes: number[] = [];
  new WebSocketServer({ server: made.server }).on('connection', (socket) => {
    ends.push(socket);
    socket.on('message', (message) => socket.send(message));
    socket.once('close', (code) => codes.push(code));
    socket.on('error', () => undefined);
  });
  return { app: made, ends, codes };
}

async function connected(port: number): Promise<WebSocket> {
  const client = new WebSocket(`ws://127.0.0.1:${port}/chat`);
  onTestFinished(() => client.terminate());
  client.on('error', () => undefined);
  await once(client, 'open');
  return client;
}

async function echoed(client: WebSocket, text: string): Promise<string> {
  client.send(text);
  const [message] = await once(client, 'message');
  return String(message);
}

/** An instance that begins an answer, of events or of something else, and goes on when the test says so. */
async function eventBackend() {
  const streams: ServerResponse[] = [];
  const app = await backend((req, res) => {
    if (req.url === '/events') res.writeHead(200, { 'content-type': 'text/event-stream' });
    res.write('data: 1\n\n');
    streams.push(res);
  });
  return { app, streams };
}

async function eventStream(port: number): Promise<Wire> {
  const wire = await openWire(port);
  wire.socket.write('GET /events HTTP/1.1\r\nHost: a\r\nAccept: text/event-stream\r\n\r\n');
  await until('the first event', () => wire.received().includes('data: 1'));
  return wire;
}

/** The text of a chunked answer. */
function eventsOf(wire: Wire): string {
  let rest = wire.received().slice(wire.received().indexOf('\r\n\r\n') + 4);
  let text = '';
  for (;;) {
    const end = rest.indexOf('\r\n');
    const size = Number.parseInt(rest, 16);
    if (end === -1 || !(size > 0)) return text;
    text += rest.slice(end + 2, end + 2 + size);
    rest = rest.slice(end + 4 + size);
  }
}
