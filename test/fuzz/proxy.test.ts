import type { Socket } from 'node:net';
import { describe, expect, test } from 'vitest';
import { ENGINES, eventually, sharedStage } from '../integration/proxy/engines.ts';
import { backend, route, until } from '../integration/proxy/scene.ts';
import { type Bare, bareInstance, dial } from '../integration/proxy/suite/wire.ts';
import { rounds } from '../support/fuzz/rounds.ts';
import { seed } from '../support/seed.ts';

const ROUNDS = rounds(2_000);

const REQUESTS = [
  'GET /path?query HTTP/1.1\r\nHost: a\r\nX-Header: value\r\n\r\n',
  'POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 11\r\n\r\nhello world',
  'POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n5\r\nhello\r\n6;x=y\r\n world\r\n0\r\nX-Sum: 1\r\n\r\n',
  'GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n',
  'HEAD / HTTP/1.1\r\nHost: a\r\nConnection: x-one, close\r\nX-One: 1\r\n\r\n',
  'GET /chat HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n\x81\x85abcdhello',
  'OPTIONS /x HTTP/1.1\r\nHost: a\r\nCookie: a=1\r\nCookie: b=2\r\nX-Forwarded-For: 10.0.0.1\r\n\r\n',
];

const ANSWERS = [
  'HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\nhello world',
  'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6;x=y\r\n world\r\n0\r\nX-Sum: 1\r\n\r\n',
  'HTTP/1.1 200 OK\r\nConnection: close, x-inner\r\nX-Inner: 1\r\n\r\nuntil the end',
  'HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 204 No Content\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\n\r\n',
  'HTTP/1.0 304 Not Modified\r\nKeep-Alive: timeout=1\r\n\r\n',
  'HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n\x81\x05hello',
  'HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n9\r\ndata: x\n\n\r\n0\r\n\r\n',
];

/** What mutations put in. */
const WORDS = [
  ...[
    '\r',
    '\n',
    '\r\n',
    '\r\n\r\n',
    '\0',
    ' ',
    '\t',
    ':',
    ',',
    ';',
    '0',
    '-1',
    'ffffffffffffffff',
    '\xff',
    '\x7f',
    '{',
  ],
  ...[
    'Content-Length: 3\r\n',
    'Transfer-Encoding: chunked\r\n',
    'Host: b\r\n',
    'Connection: close\r\n',
    'HTTP/9.9',
    '\u0080',
  ],
  ...[
    'Connection: upgrade\r\n',
    'Upgrade: websocket\r\n',
    '__proto__: x\r\n',
    'TE: trailers\r\n',
    'x'.repeat(20_000),
  ],
];

describe.each(ENGINES)('$engine', { timeout: 120_000 }, ({ open }) => {
  const at = sharedStage(open);

  test('thousands of mutated requests and answers, cut anywhere, leave it as it was', async () => {
    const chance = new Chance(seed);
    const app = await bareInstance(({ socket }) => {
      socket.once('data', () => say(socket, chance.mutated(ANSWERS), chance));
    });
    const timeouts = { connect: 1_000, response: 300, head: 300, body: 300, idle: 300 };
    const table = { traffic: { timeouts, eject: { failures: 1_000_000, time: 1, floor: 100 } } };
    await at().apply({ ...table, routes: [route('a', app), route('b', app)] });
    let left = ROUNDS;
    const loop = async () => {
      while (left-- > 0) {
        const wire = await dial(at().port());
        say(wire.socket, chance.mutated(REQUESTS), chance);
        await over(wire, chance.below(20) === 0 ? 20 : 3_000);
        wire.socket.destroy();
        if (left % 100 === 0) for (const each of app.connections.splice(0)) each.socket.destroy();
      }
    };
    await Promise.all(Array.from({ length: 96 }, loop));
    for (const each of app.connections) each.socket.destroy();
    await eventually('nothing is in flight', async () =>
      (await at().status()).routes.every(({ inFlight }) => inFlight === 0),
    );
    const good = await backend('1');
    await at().apply({ routes: [route('good', good)] });
    for (let n = 0; n < 20; n++) expect(await (await fetch(at().url())).text()).toBe('revision 1\n');
  });
});

/** The same choices for the same seed (mulberry32). */
class Chance {
  #state: number;

  constructor(seed: number) {
    this.#state = seed;
  }

  below(bound: number): number {
    this.#state = (this.#state + 0x6d2b79f5) | 0;
    let t = Math.imul(this.#state ^ (this.#state >>> 15), 1 | this.#state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) % bound;
  }

  of<T>(choices: readonly T[]): T {
    return choices[this.below(choices.length)] as T;
  }

  /** One or two of these messages, with up to three places put right or wrong. */
  mutated(messages: readonly string[]): string {
    let text = this.of(messages) + (this.below(4) === 0 ? this.of(messages) : '');
    for (let n = this.below(4); n > 0; n--) {
      const place = this.below(text.length + 1);
      const end = Math.min(text.length, place + this.below(4));
      const [before, cut, after] = [text.slice(0, place), text.slice(place, end), text.slice(end)];
      const kind = this.below(5);
      if (kind === 0) text = before + after;
      else if (kind === 1) text = before + this.of(WORDS) + after;
      else if (kind === 2) text = before + cut + cut + after;
      else if (kind === 3) text = before + String.fromCharCode(this.below(256)) + after;
      else text = before;
    }
    return text;
  }
}

/** Sends a text in up to four pieces; then ends, resets or leaves it. */
function say(socket: Socket, text: string, chance: Chance): void {
  socket.setNoDelay(true);
  const cuts = Array.from({ length: chance.below(4) }, () => chance.below(text.length + 1)).sort(
    (a, b) => a - b,
  );
  const pieces = [0, ...cuts].map((from, n) => text.slice(from, cuts[n]));
  const last = chance.below(6);
  const next = () => {
    if (socket.destroyed) return;
    const piece = pieces.shift();
    if (piece !== undefined) {
      socket.write(piece, 'latin1');
      setImmediate(next);
    } else if (last === 0) socket.end();
    else if (last === 1) socket.resetAndDestroy();
  };
  next();
}

/** Waits for the end of a connection, or until it has had its time; a plane that hangs shows in what is in flight. */
async function over(wire: Bare, within: number): Promise<void> {
  await until('', () => wire.ended() || wire.closed(), within).catch(() => undefined);
}
