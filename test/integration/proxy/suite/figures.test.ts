import { once } from 'node:events';
import type { IncomingMessage } from 'node:http';
import { describe, expect, onTestFinished, test } from 'vitest';
import { WebSocket, WebSocketServer } from 'ws';
import { type Figures, LATENCY_BOUNDS } from '../../../../src/proxy/port.ts';
import { type Backend, bodyOf } from '../../../support/http/backend.ts';
import { ENGINES, eventually, type Stage, sharedStage } from '../engines.ts';
import { backend, openWire, route, until } from '../scene.ts';

/** Of 300 answers at 8 a time: HAProxy's threads give a line up rather than wait for each other. */
const LOST = { embedded: 0, haproxy: 6 };

const PLANES = ENGINES.flatMap((each) =>
  (each.engine === 'embedded' ? [1, 2] : [1]).map((workers) => ({ ...each, workers })),
);

describe.each(PLANES)('$engine, $workers worker(s)', { timeout: 60_000 }, ({ engine, open, workers }) => {
  const at = sharedStage((state) => open(state, workers));

  test('every answer is counted by instance, revision and class of its status, as the client counted it', async () => {
    const { apply, plane, url, status } = at();
    const routes = [
      route('a', await answering('a'), { revision: 7 }),
      route('b', await answering('b'), { revision: 8 }),
    ];
    await apply({ routes });
    const mine = new Map<string, number>();
    let next = 0;
    const client = async () => {
      while (next < 300) {
        const path = STATUSES[next++ % STATUSES.length];
        // a connection for each, so that every worker gets some
        const answer = await fetch(`${url()}${path}`, {
          redirect: 'manual',
          headers: { connection: 'close' },
        });
        await answer.text();
        expect(answer.status).toBe(path);
        const key = `${answer.headers.get('x-instance')} ${String(answer.status).charAt(0)}xx`;
        mine.set(key, (mine.get(key) ?? 0) + 1);
      }
    };
    await Promise.all(Array.from({ length: 8 }, client));
    await countedInAll(plane, 300 - LOST[engine]);
    for (const figures of await plane.figures('shop')) {
      const { instance, revision, broken, retries, ejections } = figures;
      const count = (digit: number) => mine.get(`${instance} ${digit}xx`) ?? 0;
      expect(revision).toBe(instance === 'a' ? 7 : 8);
      for (const digit of [1, 2, 3, 4, 5]) {
        const lost = count(digit) - figures.status[`${digit}xx` as '2xx'];
        expect(lost).toBeGreaterThanOrEqual(0);
        expect(lost).toBeLessThanOrEqual(LOST[engine]);
      }
      expect({ broken, retries, ejections }).toEqual({ broken: 0, retries: 0, ejections: 0 });
      expect(answersOf(figures)).toBe(Object.values(figures.status).reduce((sum, each) => sum + each));
    }
    expect(await status()).toMatchObject({ requests: 300, failures: 0 });
  });

  test('what an instance has counted stays when it has left the table: a revision is judged by it', async () => {
    const { apply, plane, url } = at();
    await apply({ routes: [route('a', await answering('a'), { revision: 7 })] });
    await (await fetch(`${url()}200`)).text();
    await countedInAll(plane, 1);
    await apply({ routes: [route('b', await answering('b'), { revision: 8 })] });
    await plane.drained('shop', 'a', 5_000);
    await (await fetch(`${url()}200`)).text();
    await countedInAll(plane, 2);
    const figures = await plane.figures('shop');
    expect(figures.filter(({ status }) => status['2xx'] > 0).map(({ revision }) => revision)).toEqual([7, 8]);
  });

  test('the time of each is in the histogram', async () => {
    const { apply, plane, url } = at();
    const app = await backend((req, res) => void setTimeout(() => res.end(), req.url === '/slow' ? 120 : 0));
    await apply({ routes: [route('a', app)] });
    let seconds = 0;
    for (const path of ['slow', 'quick', 'slow', 'quick']) {
      const began = performance.now();
      await (await fetch(`${url()}${path}`)).text();
      seconds += (performance.now() - began) / 1_000;
    }
    await countedInAll(plane, 4);
    const [figures] = await plane.figures('shop');
    const { sum = 0, buckets = [] } = figures?.latency ?? {};
    const slower = buckets.filter((_, i) => i > 0 && (LATENCY_BOUNDS[i - 1] as number) >= 0.1);
    expect(slower.reduce((all, each) => all + each)).toBeGreaterThanOrEqual(2);
    expect(sum).toBeGreaterThanOrEqual(0.238);
    expect(sum).toBeLessThanOrEqual(seconds);
  });

  test('an instance that serves another revision is counted anew, and what it was is kept', async () => {
    const { apply, plane, url } = at();
    const app = await backend('1');
    await apply({ routes: [route('a', app, { revision: 1 })] });
    for (let n = 0; n < 3; n++) await (await fetch(url())).text();
    await apply({ routes: [route('a', app, { revision: 2 })] });
    for (let n = 0; n < 2; n++) await (await fetch(url())).text();
    await countedInAll(plane, 5);
    const byRevision = (await plane.figures('shop')).map(({ revision, status }) => [revision, status['2xx']]);
    expect(byRevision.sort()).toEqual([
      [1, 3],
      [2, 2],
    ]);
  });

  test('what an instance has failed is counted as broken, retried or ejected', async () => {
    const { apply, plane, port, url } = at();
    const dying = await backend((req) => req.socket.destroy());
    const dead = await backend();
    await dead.kill();
    const good = await backend('1');
    const figuresOf = async (name: string) =>
      (await plane.figures('shop')).find(({ instance }) => instance === name);

    await apply({ routes: [route('dying', dying)] });
    const wire = await openWire(port());
    wire.socket.write('POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 1\r\n\r\nx');
    await until('the answer', () => wire.closed());
    expect(wire.received()).toMatch(/^HTTP\/1\.1 502 /);
    await eventually('it is broken', async () => (await figuresOf('dying'))?.broken === 1);

    await apply({ routes: [route('dead', dead), route('good', good)] });
    // HAProxy tells of the dead one while it tells of the requests, and may give up a line: see LOST
    await eventually('the good one is counted', async () => {
      expect((await fetch(url())).status).toBe(200);
      return ((await figuresOf('good'))?.status['2xx'] ?? 0) >= 4;
    });
    const failed = await figuresOf('dead');
    // HAProxy counts what an instance has answered, and tells nothing of one that never did
    if (engine === 'embedded') {
      expect(failed).toMatchObject({ broken: 0, status: { '2xx': 0 } });
      expect(failed?.retries).toBeGreaterThanOrEqual(1);
      expect(failed?.ejections).toBe(failed?.retries);
    }
  });

  test('a WebSocket is counted by its answer, 101, and one that was refused by its own', async () => {
    const { apply, plane, port, status } = at();
    const app = await backend('1');
    const verifyClient = ({ req }: { req: IncomingMessage }) => req.url !== '/forbidden';
    new WebSocketServer({ server: app.server, verifyClient });
    await apply({ routes: [route('a', app)] });
    const client = new WebSocket(`ws://127.0.0.1:${port()}/`);
    await once(client, 'open');
    expect(await status()).toMatchObject({ routes: [{ inFlight: 1 }] });
    client.close();
    await once(client, 'close');
    const other = new WebSocket(`ws://127.0.0.1:${port()}/forbidden`);
    await once(other, 'error');
    await eventually('both are counted', async () => {
      const [figures] = await plane.figures('shop');
      return figures?.status['1xx'] === 1 && figures.status['4xx'] === 1;
    });
    await eventually('neither is in flight', async () => (await status()).routes[0]?.inFlight === 0);
    expect(await status()).toMatchObject({ requests: 2, failures: 0 });
  });

  test('requests in flight, drains, holds and refusals are in the status', async () => {
    const { apply, plane, url, status } = at();
    const waiting: (() => void)[] = [];
    const app = await backend((_req, res) => void waiting.push(() => res.end()));
    await apply({ routes: [route('a', app), route('b', app)] });
    const answers = Array.from({ length: 4 }, () => fetch(url(), { headers: { connection: 'close' } }));
    await until('all are there', () => waiting.length === 4);
    const inFlight = async () => (await status()).routes.reduce((sum, each) => sum + each.inFlight, 0);
    expect(await inFlight()).toBe(4);
    for (const answer of waiting.splice(0)) answer();
    await Promise.all(answers);
    await eventually('none is in flight', async () => (await inFlight()) === 0);

    await apply({ hold: true, routes: [route('b', app)] });
    await plane.drained('shop', 'a', 1_000);
    const held = fetch(url());
    await eventually('it waits', async () => (await status()).held === 1);
    await apply({ routes: [route('b', app)] });
    await until('it is there', () => waiting.length === 1);
    waiting[0]?.();
    await held;
    await apply({ routes: [] });
    expect((await fetch(url())).status).toBe(503);
    expect(await status()).toMatchObject({
      requests: 6,
      failures: 1,
      held: 0,
      holds: 1,
      drains: 1,
      refused: { 'no-instance': 1 },
    });
  });
});

const STATUSES = [200, 201, 204, 301, 404, 500];

/** An instance that answers with the status that the path says, and with its name. */
async function answering(name: string): Promise<Backend> {
  const app = await backend(async (req, res) => {
    await bodyOf(req);
    res.writeHead(Number(req.url?.slice(1)), { 'x-instance': name }).end();
  });
  onTestFinished(() => app.kill());
  return app;
}

function answersOf({ latency }: Figures): number {
  return latency.buckets.reduce((sum, count) => sum + count);
}

/** HAProxy tells of its requests a moment after they have ended. */
async function countedInAll(plane: Stage['plane'], answers: number): Promise<void> {
  await eventually(`${answers} are counted`, async () => {
    const all = await plane.figures('shop');
    return all.reduce((sum, each) => sum + answersOf(each), 0) >= answers;
  });
}
