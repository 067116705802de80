import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { WebSocket, WebSocketServer } from 'ws';
import { DEFAULT_TRAFFIC } from '../../../../src/domain/traffic.ts';
import { bodyOf } from '../../../support/http/backend.ts';
import { startBareLoad } from '../../../support/http/bare-load.ts';
import { ENGINES, eventually, stage } from '../engines.ts';
import { backend, openWire, route, until } from '../scene.ts';

const accessLog = { accessLog: true };

/** Of an answer that broke off, and of a client that went away: HAProxy's termination states. */
const ENDS = { embedded: ['broken', 'client-gone'], haproxy: ['SD', 'CH'] };

describe.each(ENGINES)('$engine', { timeout: 60_000 }, ({ engine, open }) => {
  test('a line for every request says what was asked, who answered, how long it took and how it ended', async () => {
    const { apply, url, state } = await stage(open);
    const app = await backend(async (req, res) => {
      await bodyOf(req);
      setTimeout(() => res.writeHead(201).end('created'), 30);
    });
    await apply({ traffic: accessLog, routes: [route('ä "1"', app, { revision: 7 })] });
    const before = Date.now();
    const headers = { 'x-request-id': 'mine-1' };
    await (await fetch(`${url()}a/b?c="d"`, { method: 'POST', body: 'five!', headers })).text();
    const [line = {}] = await linesOf(state, 1);
    expect(line).toMatchObject({
      service: 'shop',
      id: 'mine-1',
      method: 'POST',
      host: '127.0.0.1',
      path: '/a/b?c=%22d%22',
      status: 201,
      instance: 'ä "1"',
      revision: 7,
      attempts: 1,
    });
    expect(line.end).toBeUndefined();
    expect(line.ms).toBeGreaterThanOrEqual(28);
    expect(line.ms).toBeLessThan(5_000);
    expect(Date.parse(String(line.time))).toBeGreaterThanOrEqual(before);
    // with HAProxy these are bytes of the heads as well
    if (engine === 'embedded') expect(line).toMatchObject({ received: 5, sent: 7 });
  });

  test.each([1, 2])(
    'every request of a load has its line, with %i worker(s), and each its own id',
    async (workers) => {
      const { apply, url, state } = await stage((folder) => open(folder, workers));
      await apply({
        traffic: accessLog,
        routes: [route('a', await backend('1')), route('b', await backend('1'))],
      });
      const { ok } = await startBareLoad({ url: url(), connections: 8, requests: 400 }).ended;
      expect(ok).toBe(400);
      // HAProxy's threads give a line up rather than wait for each other
      const lines = await linesOf(state, 400, engine === 'embedded' ? 0 : 8);
      expect(lines.every(({ status }) => status === 200)).toBe(true);
      expect(new Set(lines.map(({ id }) => id)).size).toBe(lines.length);
      expect(lines.filter(({ instance }) => instance === 'a').length).toBeGreaterThan(150);
    },
  );

  test('without the policy nothing is written; it may change from one request to the next', async () => {
    const { apply, url, state } = await stage(open);
    const routes = [route('a', await backend('1'))];
    for (const [path, on] of [
      ['quiet', false],
      ['loud', true],
    ] as const) {
      await apply({ traffic: { accessLog: on }, routes });
      await (await fetch(`${url()}${path}`, { headers: { connection: 'close' } })).text();
    }
    expect((await linesOf(state, 1)).map(({ path }) => path)).toEqual(['/loud']);
  });

  test('what did not end as it should says how', async () => {
    const { apply, port, url, state } = await stage(open);
    const app = await backend((req, res) => {
      if (req.url === '/half') {
        res.writeHead(200, { 'content-length': 10 }).write('half');
        setImmediate(() => res.destroy());
      } else if (req.url === '/lost') res.destroy();
      else if (req.url !== '/silent') res.end('fine');
    });
    const traffic = { ...accessLog, hold: { ...DEFAULT_TRAFFIC.hold, health: '/up' } };
    await apply({ traffic, routes: [route('a', app)] });
    const line = async (path: string) => {
      let found: Line | undefined;
      await eventually(`a line of ${path}`, async () => {
        found = (await readLines(state)).find((each) => each.path === path);
        return found !== undefined;
      });
      return found as Line;
    };
    await expect(fetch(`${url()}half`).then((res) => res.text())).rejects.toThrow();
    const wire = await openWire(port());
    wire.socket.write('POST /lost HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 0\r\n\r\n');
    await until('the answer', () => wire.closed());
    const impatient = await openWire(port());
    impatient.socket.write('GET /silent HTTP/1.1\r\nHost: a\r\n\r\n');
    await until('it is there', () => app.requests === 3);
    impatient.socket.destroy();
    expect(await line('/lost')).toMatchObject({ status: 502, instance: 'a' });
    expect([(await line('/half')).end, (await line('/silent')).end]).toEqual(ENDS[engine]);

    await apply({ traffic, hold: true, routes: [route('a', app)] });
    expect((await fetch(`${url()}up`)).status).toBe(200);
    expect(await line('/up')).toMatchObject({ status: 200 });
    await apply({ traffic, routes: [] });
    expect((await fetch(`${url()}refused`)).status).toBe(503);
    const refused = await line('/refused');
    expect(refused.status).toBe(503);
    expect(refused.instance).toBeUndefined();
  });

  test('a WebSocket has its line when it has ended', async () => {
    const { apply, port, state } = await stage(open);
    const app = await backend('1');
    new WebSocketServer({ server: app.server }).on('connection', (socket) =>
      socket.on('message', (message) => socket.send(message)),
    );
    await apply({ traffic: accessLog, routes: [route('a', app)] });
    const client = new WebSocket(`ws://127.0.0.1:${port()}/chat`);
    await once(client, 'open');
    client.send('hello');
    await once(client, 'message');
    client.close();
    await once(client, 'close');
    const [line = {}] = await linesOf(state, 1);
    expect(line).toMatchObject({ method: 'GET', path: '/chat', status: 101, instance: 'a', attempts: 1 });
    // a frame from the server is 2 bytes longer than its text, one from the client 6; then both close
    if (engine === 'embedded') expect(line).toMatchObject({ received: 5 + 6 + 6, sent: 5 + 2 + 2 });
  });
});

type Line = Record<string, unknown> & { ms?: number };

async function readLines(state: string): Promise<Line[]> {
  const text = await readFile(join(state, 'access.log'), 'utf8').catch(() => '');
  return text
    .split('\n')
    .slice(0, -1)
    .map((line) => JSON.parse(line) as Line);
}

/** All lines, which are so many in the end, or a few less. */
async function linesOf(state: string, number: number, lost = 0): Promise<Line[]> {
  let lines: Line[] = [];
  await eventually(`${number} lines`, async () => {
    lines = await readLines(state);
    return lines.length >= number - lost;
  });
  expect(lines.length).toBeLessThanOrEqual(number);
  return lines;
}
