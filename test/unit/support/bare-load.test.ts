import { once } from 'node:events';
import { type AddressInfo, createServer, type Socket } from 'node:net';
import { expect, onTestFinished, test } from 'vitest';
import { startBareLoad } from '../../support/http/bare-load.ts';

const OK = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok';

/** A server that says this to every request, cut into pieces of one byte if need be, and then what `after` does. */
async function serve(answer: string, after: (socket: Socket) => void = () => undefined, piecewise = false) {
  let connections = 0;
  const server = createServer((socket) => {
    connections++;
    socket.setNoDelay();
    socket.on('error', () => undefined);
    socket.on('data', async () => {
      for (const piece of piecewise ? answer : [answer]) {
        socket.write(piece);
        if (piecewise) await new Promise(setImmediate);
      }
      after(socket);
    });
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  onTestFinished(() => void server.close());
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/`,
    connections: () => connections,
  };
}

const end = (socket: Socket): void => void socket.end();
const reset = (socket: Socket): void => void socket.resetAndDestroy();
const CHUNKED = 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n';
const TO_THE_END = 'HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhello';

test.each([
  ['whole, by its length', OK, undefined, {}],
  ['whole, in chunks, with a trailer', `${CHUNKED}0\r\nX: y\r\n\r\n`, undefined, {}],
  ['whole, after an early hint', `HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n${OK}`, undefined, {}],
  ['whole, to the end of the connection', TO_THE_END, end, {}],
  ['nothing', '', end, { connection: 10 }],
  ['half a head', OK.slice(0, 20), end, { truncated: 10 }],
  ['less than its length', OK.slice(0, -1), end, { truncated: 10 }],
  ['chunks without the last one', CHUNKED, end, { truncated: 10 }],
  ['something that is no HTTP', 'SSH-2.0-OpenSSH\r\n\r\n', undefined, { wrong: 10 }],
  ['an error', OK.replace('200', '503'), undefined, { status: 10 }],
] as const)('what the server answers is counted as it is: %s', async (_what, answer, after, failed) => {
  for (const piecewise of [false, true]) {
    const { url } = await serve(answer, after, piecewise);
    const ledger = await startBareLoad({ url, connections: 2, requests: 10 }).ended;
    expect(ledger.failed).toEqual({
      connection: 0,
      truncated: 0,
      status: 0,
      wrong: 0,
      timeout: 0,
      ...failed,
    });
    expect(ledger.sent).toBe(10);
    expect(ledger.ok).toBe(Object.keys(failed).length > 0 ? 0 : 10);
  }
});

test('what is no end of an answer is not taken for one', async () => {
  const broken = await serve(TO_THE_END, reset, true);
  const cut = await startBareLoad({ url: broken.url, connections: 2, requests: 10 }).ended;
  expect(cut.failed).toMatchObject({ truncated: 10 });

  const longer = await serve(`${OK}!`);
  const wrong = await startBareLoad({ url: longer.url, connections: 2, requests: 10 }).ended;
  expect(wrong.failed).toMatchObject({ wrong: 10 });
});

test('connections are kept, given up where the server says so, and new for every request where asked for', async () => {
  const kept = await serve(OK);
  await startBareLoad({ url: kept.url, connections: 3, requests: 30 }).ended;
  expect(kept.connections()).toBe(3);

  const closing = await serve(OK.replace('\r\n\r\n', '\r\nConnection: close\r\n\r\n'), end);
  const ledger = await startBareLoad({ url: closing.url, connections: 3, requests: 30 }).ended;
  expect(ledger).toMatchObject({ sent: 30, ok: 30 });
  expect(closing.connections()).toBe(30);

  const fresh = await serve(OK, end);
  await startBareLoad({ url: fresh.url, connections: 3, fresh: true, requests: 30 }).ended;
  expect(fresh.connections()).toBe(30);
});

test('an answer that does not come in time, or a body of another length, is a failure', async () => {
  const silent = await serve('');
  const slow = startBareLoad({ url: silent.url, connections: 1, requests: 1, timeout: 100 });
  expect((await slow.ended).failed).toMatchObject({ timeout: 1 });

  const other = await serve(OK);
  const short = startBareLoad({ url: other.url, connections: 1, requests: 1, bytes: 3 });
  expect((await short.ended).failed).toMatchObject({ wrong: 1 });
});
