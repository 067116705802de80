import type { Socket } from 'node:net';
import { describe, expect, test } from 'vitest';
import type { Backend } from '../../../support/http/backend.ts';
import { ENGINES, eventually, sharedStage } from '../engines.ts';
import { backend, openWire, route, until } from '../scene.ts';

const ASK =
  'GET /chat HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n';

describe.each(ENGINES)('$engine', { timeout: 60_000 }, ({ open }) => {
  const at = sharedStage(open);

  const inFlight = async () => (await at().status()).routes.reduce((sum, each) => sum + each.inFlight, 0);
  const nothingLeft = (app: Echo) =>
    eventually('nothing is left', async () => (await inFlight()) === 0 && app.upgraded.size === 0);

  test('it goes through in both directions, and counts as in flight until it ends', async () => {
    const { apply, port, status } = at();
    const app = await echo();
    await apply({ routes: [route('a', app)] });
    const wire = await openWire(port());
    wire.socket.write(`${ASK}early`);
    await until('the upgrade is answered', () => wire.received().endsWith('early'));
    expect(wire.received()).toMatch(/^HTTP\/1\.1 101 /);
    wire.socket.write(' and late');
    await until('the echo', () => wire.received().endsWith('early and late'));
    expect(await inFlight()).toBe(1);
    expect(app.asked).toEqual(['/chat 127.0.0.1']);
    wire.socket.end();
    await nothingLeft(app);
    expect(await status()).toMatchObject({ requests: 1, failures: 0 });
  });

  test('an upgrade that is not answered by the deadline of a drain gets 503', async () => {
    const { apply, plane, port } = at();
    const app = await echo('is silent');
    await apply({ routes: [route('a', app)] });
    const wire = await openWire(port());
    wire.socket.write(ASK);
    await until('the instance was asked', () => app.asked.length === 1);
    await apply({ routes: [route('a', app, { weight: 0 })] });
    expect(await plane.drained('shop', 'a', 50)).toEqual({ cut: 1, websockets: 0, streams: 0 });
    await until('the answer', () => wire.received().includes('\r\n\r\n'));
    expect(wire.received()).toMatch(/^HTTP\/1\.1 503 /);
    await nothingLeft(app);
  });

  test('an offer of another protocol is served as a plain request, and the connection goes on', async () => {
    const { apply, port, status } = at();
    await apply({ routes: [route('a', await backend('1'))] });
    const wire = await openWire(port());
    for (const n of [1, 2]) {
      wire.socket.write(
        'POST / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAA\r\nContent-Length: 4\r\n\r\nbody',
      );
      await until('an answer', () => wire.received().split('revision 1\n').length === n + 1);
    }
    expect(await status()).toMatchObject({ requests: 2, failures: 0 });
  });
});

interface Echo extends Backend {
  /** connections with an upgrade */
  upgraded: Set<Socket>;
  /** paths of upgrades, and for whom they were */
  asked: string[];
}

/** An instance that takes upgrades, and sends back what it gets; or one that is silent, or dies. */
async function echo(does: 'echoes' | 'is silent' | 'dies' = 'echoes'): Promise<Echo> {
  const app = await backend((_req, res) => res.end('plain'));
  const made = Object.assign(app, { upgraded: new Set<Socket>(), asked: [] as string[] });
  app.server.on('upgrade', (req, socket: Socket, head) => {
    made.asked.push(`${req.url} ${req.headers['x-forwarded-for']}`);
    made.upgraded.add(socket);
    socket.on('error', () => undefined);
    socket.once('close', () => made.upgraded.delete(socket));
    if (does === 'dies') socket.destroy();
    else if (does === 'is silent') socket.resume().once('end', () => socket.end());
    else socket.write(YES);
    if (does !== 'echoes') return;
    socket.write(head);
    socket.pipe(socket);
  });
  return made;
}

const YES =
  'HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n';
