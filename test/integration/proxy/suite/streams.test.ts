import { once } from 'node:events';
import { request, type ServerResponse } from 'node:http';
import { describe, expect, test } from 'vitest';
import { residentOf } from '../../../support/soak/footprint.ts';
import { ENGINES, eventually, sharedStage } from '../engines.ts';
import { backend, route, until } from '../scene.ts';
import { dial } from './wire.ts';

const SIZE = 256 << 20;
const PIECE = Buffer.alloc(1 << 16, 'x');
/** what a data plane may need of memory for one stream, and its garbage */
const BOUND = 80 << 20;

describe.each(ENGINES)('$engine', { timeout: 60_000 }, ({ open }) => {
  const at = sharedStage(open);
  const inFlight = async () => (await at().status()).routes.reduce((sum, each) => sum + each.inFlight, 0);

  test('an event arrives before the next one is sent', async () => {
    let stream: ServerResponse | undefined;
    const app = await backend((_req, res) => {
      res.writeHead(200, { 'content-type': 'text/event-stream' }).flushHeaders();
      stream = res;
    });
    await at().apply({ routes: [route('a', app)] });
    const answer = await fetch(at().url());
    expect(answer.headers.get('content-type')).toBe('text/event-stream');
    const reader = answer.body?.pipeThrough(new TextDecoderStream()).getReader();
    const began = Date.now();
    for (let n = 0; n < 20; n++) {
      const event = `data: ${n}\n\n`;
      stream?.write(event);
      expect((await reader?.read())?.value).toBe(event);
    }
    expect(Date.now() - began).toBeLessThan(2_000);
    stream?.end();
    expect(await reader?.read()).toMatchObject({ done: true });
    await eventually('nothing is in flight', async () => (await inFlight()) === 0);
  });

  test('a piece of an upload arrives before the next one is sent, and an answer may begin before its end', async () => {
    const app = await backend((req, res) => req.pipe(res));
    await at().apply({ routes: [route('a', app)] });
    const upload = request(at().url(), { method: 'POST' });
    upload.write('piece 0');
    const [res] = await once(upload, 'response');
    let heard = '';
    res.on('data', (piece: Buffer) => {
      heard += piece;
    });
    for (let n = 1; n < 10; n++) {
      await until('the echo', () => heard.endsWith(`piece ${n - 1}`));
      upload.write(`piece ${n}`);
    }
    upload.end();
    await once(res, 'end');
    expect(heard).toHaveLength(70);
  });

  test('a download waits for its reader, in bounded memory, and all of it arrives', async () => {
    const made = { bytes: 0 };
    const app = await backend((_req, res) => {
      res.writeHead(200, { 'content-length': SIZE });
      pour(res, made);
    });
    await at().apply({ routes: [route('a', app)] });
    await (await fetch(at().url(), { method: 'HEAD' })).text();
    made.bytes = 0;
    const memory = watchMemory(at().state);
    const reader = request(at().url()).end();
    const [res] = await once(reader, 'response');
    await standsStill(made);
    expect(made.bytes).toBeLessThan(48 << 20);
    let got = 0;
    for await (const piece of res) got += piece.length;
    expect(got).toBe(SIZE);
    expect(memory()).toBeLessThan(BOUND);
  });

  test('an upload waits for its instance, in bounded memory, and all of it arrives', async () => {
    let got = 0;
    let go: (() => void) | undefined;
    const app = await backend((req, res) => {
      go = () => {
        req.on('data', (piece: Buffer) => {
          got += piece.length;
        });
        req.once('end', () => res.end('thanks'));
      };
    });
    await at().apply({ routes: [route('a', app)] });
    const memory = watchMemory(at().state);
    const made = { bytes: 0 };
    const upload = request(at().url(), { method: 'POST', headers: { 'content-length': SIZE } });
    const answered = once(upload, 'response');
    pour(upload, made);
    await standsStill(made);
    expect(made.bytes).toBeLessThan(48 << 20);
    go?.();
    const [res] = await answered;
    expect(res.statusCode).toBe(200);
    expect(got).toBe(SIZE);
    expect(memory()).toBeLessThan(BOUND);
    res.resume();
  });

  test('a reader that stands still keeps nobody else waiting', async () => {
    const app = await backend((req, res) => {
      if (req.url === '/large') pour(res, { bytes: 0 });
      else res.end('small');
    });
    await at().apply({ routes: [route('a', app)] });
    const wire = await dial(at().port());
    wire.socket.pause();
    wire.socket.write('GET /large HTTP/1.1\r\nHost: a\r\n\r\n');
    await eventually('it is in flight', async () => (await inFlight()) === 1);
    for (let n = 0; n < 20; n++) expect(await (await fetch(at().url())).text()).toBe('small');
    wire.socket.destroy();
    await eventually('nothing is in flight', async () => (await inFlight()) === 0);
  });
});

/** Writes SIZE bytes, as fast as they are taken. */
function pour(to: NodeJS.WritableStream, made: { bytes: number }): void {
  const more = () => {
    while (made.bytes < SIZE) {
      made.bytes += PIECE.length;
      if (!to.write(PIECE)) return;
    }
    to.off('drain', more).end();
  };
  to.on('drain', more);
  to.on('error', () => undefined);
  more();
}

/** Waits until a sender cannot go on. */
async function standsStill(made: { bytes: number }): Promise<void> {
  let before = -1;
  let since = Date.now();
  await until('the sender stands still', () => {
    if (made.bytes !== before) since = Date.now();
    before = made.bytes;
    return made.bytes > 0 && Date.now() - since > 200;
  });
}

/** The most memory that a data plane takes from now on, beyond what it has; stops looking when it is asked. */
function watchMemory(state: string): () => number {
  const before = residentOf(state);
  let most = before;
  const look = () => {
    most = Math.max(most, residentOf(state));
  };
  const timer = setInterval(look, 20);
  return () => {
    clearInterval(timer);
    look();
    return most - before;
  };
}
