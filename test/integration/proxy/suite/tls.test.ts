import { once } from 'node:events';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { connect, type TLSSocket } from 'node:tls';
import { describe, expect, onTestFinished, test } from 'vitest';
import { ENGINES, eventually, sharedStage } from '../engines.ts';
import { backend, route, until } from '../scene.ts';
import { certificate, type Pair, replace } from './certificate.ts';
import { bareInstance, dial, listenTo } from './wire.ts';

describe.each(ENGINES)('$engine', { timeout: 60_000 }, ({ engine, open }) => {
  const at = sharedStage(open);

  async function serve(service: string, tls: Pair): Promise<void> {
    const listen = { host: '127.0.0.1', port: service === 'shop' ? 0 : at().port() };
    const match = [{ host: `${service}.test`, path: '/' }];
    await at().apply({
      service,
      listen,
      traffic: { tls, match },
      routes: [route('a', await backend(service))],
    });
  }

  async function shakeHands(servername?: string, more = {}): Promise<TLSSocket> {
    const socket = connect({
      host: '127.0.0.1',
      port: at().port(),
      rejectUnauthorized: false,
      ...(servername === undefined ? {} : { servername }),
      ...more,
    });
    onTestFinished(() => void socket.destroy());
    await once(socket, 'secureConnect');
    return socket;
  }

  /** Whose certificate a client gets, and its serial number. */
  async function served(servername?: string): Promise<{ name: unknown; serial: string }> {
    const socket = await shakeHands(servername);
    const { subject, serialNumber } = socket.getPeerCertificate();
    socket.destroy();
    return { name: subject.CN, serial: serialNumber };
  }

  const nameFor = async (servername?: string) => (await served(servername)).name;

  async function ask(socket: TLSSocket, host: string): Promise<string> {
    const wire = listenTo(socket);
    socket.write(`GET / HTTP/1.1\r\nHost: ${host}\r\n\r\n`);
    await until('the answer', () => /revision \w+|HTTP\/1\.1 [45]/.test(wire.received()));
    return /revision (\w+)/.exec(wire.received())?.[1] ?? wire.received().slice(9, 12);
  }

  test('a client gets the certificate of the host that it asks for, and its service', async () => {
    await serve('shop', await certificate('shop.test'));
    await serve('blog', await certificate('blog.test'));
    expect(await nameFor('shop.test')).toBe('shop.test');
    expect(await nameFor('blog.test')).toBe('blog.test');
    expect(await nameFor('BLOG.test')).toBe('blog.test');
    expect(['shop.test', 'blog.test']).toContain(await nameFor('other.test'));
    expect(['shop.test', 'blog.test']).toContain(await nameFor());
    for (const name of ['shop', 'blog'])
      expect(await ask(await shakeHands(`${name}.test`), `${name}.test`)).toBe(name);
  });

  test('HTTP/2 and HTTP/1.1 are agreed on by what the client offers', async () => {
    await serve('shop', await certificate('shop.test'));
    for (const [offered, agreed] of [
      [['h2', 'http/1.1'], 'h2'],
      [['http/1.1'], 'http/1.1'],
    ] as const)
      expect((await shakeHands('shop.test', { ALPNProtocols: offered })).alpnProtocol).toBe(agreed);
    expect(await ask(await shakeHands('shop.test'), 'shop.test')).toBe('shop');
  });

  test('a certificate that changes is taken over, and no connection is dropped for it', async () => {
    const [own, other] = [await certificate('shop.test'), await certificate('shop.test')];
    await serve('shop', own);
    const before = await shakeHands('shop.test');
    const { serial } = await served('shop.test');
    await replace(own, other);
    await eventually('the new one is served', async () => (await served('shop.test')).serial !== serial);
    expect(await ask(before, 'shop.test')).toBe('shop');
  });

  test('one that becomes bad harms nobody: the last good one stays, and the log says so', async () => {
    const [own, blog] = [await certificate('shop.test'), await certificate('blog.test')];
    await serve('shop', own);
    await serve('blog', blog);
    const { serial } = await served('shop.test');
    await writeFile(own.certificate, 'nonsense');
    const log = () => readFile(join(at().state, 'proxy.log'), 'utf8').catch(() => '');
    await eventually('the log tells of it', async () => /"level":"(error|warn)".*shop/.test(await log()));
    expect(await served('shop.test')).toEqual({ name: 'shop.test', serial });
    expect(await nameFor('blog.test')).toBe('blog.test');
    expect(await ask(await shakeHands('blog.test'), 'blog.test')).toBe('blog');
    await replace(own, await certificate('shop.test'));
    await eventually('the good one is served', async () => (await served('shop.test')).serial !== serial);
  });

  test('a table with a bad one is refused, and nothing has changed', async () => {
    const [good, other] = [await certificate('shop.test'), await certificate('blog.test')];
    await serve('shop', good);
    const bad = { certificate: good.certificate, key: other.key };
    // HAProxy goes on with the last good one of a service that has one
    for (const service of engine === 'embedded' ? ['blog', 'shop'] : ['blog'])
      await expect(serve(service, bad)).rejects.toMatchObject({ code: 'UD_TLS' });
    await expect(serve('blog', { ...other, key: '/nowhere' })).rejects.toMatchObject({ code: 'UD_TLS' });
    expect(await nameFor('shop.test')).toBe('shop.test');
    expect(await ask(await shakeHands('shop.test'), 'shop.test')).toBe('shop');
    expect((await at().plane.status()).map(({ service }) => service)).toEqual(['shop']);
    await serve('blog', other);
    expect(await nameFor('blog.test')).toBe('blog.test');
  });

  test('clients that do not speak TLS, or stop half-way, harm nobody', async () => {
    await serve('shop', await certificate('shop.test'));
    for (const words of [
      'GET / HTTP/1.1\r\nHost: a\r\n\r\n',
      '\x16\x03\x01\x00\x05\x01\0\0\x01\0',
      '\x16\x03\x01\x01\x00',
    ]) {
      const wire = await dial(at().port());
      wire.socket.write(Buffer.from(words, 'latin1'));
      wire.socket.end();
      await until('it is let go', () => wire.ended() || wire.closed());
      expect(wire.received()).not.toContain('HTTP/1.1 200');
    }
    const leaves = await dial(at().port());
    leaves.socket.resetAndDestroy();
    expect(await ask(await shakeHands('shop.test'), 'shop.test')).toBe('shop');
  });

  test('connections of a service that does not speak HTTP can come by TLS', async () => {
    const app = await bareInstance(({ socket }) => socket.pipe(socket));
    const tls = await certificate('shop.test');
    await at().apply({ traffic: { mode: 'tcp', tls }, routes: [route('a', app)] });
    const socket = await shakeHands('shop.test');
    const wire = listenTo(socket);
    socket.write('x'.repeat(1 << 20));
    await until('all of it', () => wire.received().length === 1 << 20);
    socket.end('bye');
    await until('the end', () => wire.received().endsWith('bye') && wire.ended());
  });
});
