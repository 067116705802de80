import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { copyFile, mkdir, mkdtemp, readFile, rename, rm, symlink, writeFile } from 'node:fs/promises';
import { type AddressInfo, connect as connectPlain, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect, type TLSSocket } from 'node:tls';
import { promisify } from 'node:util';
import { beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { WebSocket, WebSocketServer } from 'ws';
import { UnideployError } from '../../../src/errors.ts';
import { type CertificateEntry, Certificates } from '../../../src/proxy/embedded/tls/certificates.ts';
import { secure } from '../../../src/proxy/embedded/tls/secure.ts';
import { Edge } from './edge.ts';
import { route, until } from './scene.ts';

const run = promisify(execFile);

interface Line {
  level: string;
  message: string;
  fields: Record<string, unknown> | undefined;
}

interface Made {
  certificate: string;
  key: string;
}

/** certificates made once, by name */
const made: Record<string, Made> = {};
let folder: string;

/** A certificate for these names, by openssl; the common name is the first. */
async function make(file: string, names: string[], days = 30, kind = ['rsa:2048']): Promise<Made> {
  const pair = { certificate: join(folder, `${file}.crt`), key: join(folder, `${file}.key`) };
  await run('openssl', [
    ...['req', '-x509', '-nodes', '-newkey', ...kind, '-days', String(days), '-subj', `/CN=${names[0]}`],
    ...['-addext', `subjectAltName=${names.map((name) => `DNS:${name}`).join()}`],
    ...['-keyout', pair.key, '-out', pair.certificate],
  ]);
  return pair;
}

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'unideploy-tls-'));
  const curve = ['ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1'];
  made.shop = await make('shop', ['shop.example', '*.shop.example'], 30, curve);
  made.blog = await make('blog', ['blog.example', 'all.shop.example'], 90, curve);
  made.next = await make('next', ['shop.example', '*.shop.example'], 365, curve);
  made.other = await make('other', ['other.example'], 30);
  return async () => rm(folder, { recursive: true });
});

/** A folder of this test with a pair of its own in it, replaced by `put`. */
async function files(
  pair: Made | undefined,
): Promise<Made & { dir: string; put: (next: Made) => Promise<void> }> {
  const dir = await mkdtemp(join(folder, 'test-'));
  const own = { certificate: join(dir, 'tls.crt'), key: join(dir, 'tls.key') };
  const put = async (next: Made) => {
    for (const part of ['certificate', 'key'] as const) {
      await copyFile(next[part], `${own[part]}.new`);
      await rename(`${own[part]}.new`, own[part]);
    }
  };
  if (pair) await put(pair);
  return { ...own, dir, put };
}

function entry(service: string, pair: Made | undefined, hosts: string[] = []): CertificateEntry {
  return { service, hosts, certificate: pair?.certificate ?? '', key: pair?.key ?? '' };
}

function certificates(): { certificates: Certificates; lines: Line[] } {
  const lines: Line[] = [];
  const kept = new Certificates((level, message, fields) => lines.push({ level, message, fields }));
  onTestFinished(() => kept.close());
  return { certificates: kept, lines };
}

/** A listener with these certificates; every connection says what `serve` says. */
async function listener(
  certificates: Certificates,
  serve: (socket: TLSSocket) => void = (socket) => socket.pipe(socket),
  within = 10_000,
): Promise<number> {
  const sockets = new Set<Socket>();
  const server = createServer((raw) => {
    sockets.add(raw);
    secure(raw, { certificates, within, protocols: ['h2', 'http/1.1'] }, serve);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  onTestFinished(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  return (server.address() as AddressInfo).port;
}

async function handshake(port: number, servername?: string, more = {}): Promise<TLSSocket> {
  const socket = connect({
    host: '127.0.0.1',
    port,
    rejectUnauthorized: false,
    ...(servername === undefined ? {} : { servername }),
    ...more,
  });
  onTestFinished(() => {
    socket.destroy();
  });
  await once(socket, 'secureConnect');
  return socket;
}

/** The common name of the certificate that a client gets, and the day it expires. */
async function served(port: number, servername?: string): Promise<string> {
  const socket = await handshake(port, servername);
  const { subject, valid_to } = socket.getPeerCertificate();
  socket.destroy();
  return `${subject.CN} ${Math.round((Date.parse(valid_to) - Date.now()) / 86_400_000)}`;
}

async function becomes(port: number, servername: string, wanted: string): Promise<void> {
  const end = Date.now() + 8_000;
  for (;;) {
    const now = await served(port, servername);
    if (now === wanted) return;
    if (Date.now() > end) throw new Error(`still ${now}, not ${wanted}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

function refusal(act: () => void): UnideployError {
  try {
    act();
  } catch (error) {
    if (error instanceof UnideployError) return error;
    throw error;
  }
  throw new Error('it was taken');
}

describe('a client is given', () => {
  test('the certificate of the host it asks for, exactly before by wildcard, else the first one', async () => {
    const { certificates: kept } = certificates();
    expect(kept.context('shop.example')).toBeUndefined();
    kept.apply([
      entry('other', made.other),
      entry('shop', made.shop, ['Store.example', '*.wild.example']),
      entry('blog', made.blog),
    ]);
    const port = await listener(kept);
    const names: [string | undefined, string][] = [
      ['shop.example', 'shop.example 30'],
      ['SHOP.example', 'shop.example 30'],
      ['www.shop.example', 'shop.example 30'],
      ['all.shop.example', 'blog.example 90'],
      ['store.example', 'shop.example 30'],
      ['www.store.example', 'other.example 30'],
      ['a.wild.example', 'shop.example 30'],
      ['a.b.wild.example', 'other.example 30'],
      ['wild.example', 'other.example 30'],
      ['blog.example', 'blog.example 90'],
      ['a.www.shop.example', 'other.example 30'],
      ['localhost', 'other.example 30'],
      [undefined, 'other.example 30'],
    ];
    for (const [name, expected] of names)
      expect(`${name}: ${await served(port, name)}`).toBe(`${name}: ${expected}`);
  });

  test('the service that claims a host, whatever other certificates say', async () => {
    const { certificates: kept } = certificates();
    kept.apply([entry('shop', made.shop), entry('blog', made.blog, ['shop.example'])]);
    expect(await served(await listener(kept), 'shop.example')).toBe('blog.example 90');
  });

  test('TLS 1.2 at least', async () => {
    const { certificates: kept } = certificates();
    kept.apply([entry('shop', made.shop)]);
    const port = await listener(kept);
    const low = { minVersion: 'TLSv1', maxVersion: 'TLSv1.1', ciphers: 'DEFAULT@SECLEVEL=0' };
    await expect(handshake(port, 'shop.example', low)).rejects.toThrow();
    for (const version of ['TLSv1.2', 'TLSv1.3']) {
      const socket = await handshake(port, 'shop.example', { minVersion: version, maxVersion: version });
      expect(socket.getProtocol()).toBe(version);
    }
  });

  test('its session again, by a ticket', async () => {
    const { certificates: kept } = certificates();
    kept.apply([entry('other', made.other), entry('shop', made.shop)]);
    const port = await listener(kept);
    const first = await handshake(port, 'shop.example');
    first.write('x');
    const [session] = await once(first, 'session');
    expect((await handshake(port, 'shop.example', { session })).isSessionReused()).toBe(true);
  });
});

test('what a client and a server agree to speak is known when the socket is ready', async () => {
  const { certificates: kept } = certificates();
  kept.apply([entry('shop', made.shop)]);
  const spoken: unknown[] = [];
  const port = await listener(kept, (socket) => spoken.push(socket.alpnProtocol, socket.servername));
  await handshake(port, 'shop.example', { ALPNProtocols: ['http/1.1', 'h2'] });
  await until('the socket is ready', () => spoken.length > 0);
  expect(spoken).toEqual(['h2', 'shop.example']);
});

test('clients that do not shake hands are closed, in time, and harm nobody', async () => {
  const { certificates: kept } = certificates();
  kept.apply([entry('shop', made.shop)]);
  const port = await listener(kept, undefined, 300);
  const says = [
    '',
    'GET / HTTP/1.1\r\n\r\n',
    '\x16\x03\x01\x01\x00\x01',
    '\x16\x03\x01\x00\x05\x01\0\0\x01\0',
  ];
  const closed: string[] = [];
  for (const text of says) {
    const socket = connectPlain(port, '127.0.0.1').on('error', () => undefined);
    socket.resume().once('close', () => closed.push(text));
    socket.write(Buffer.from(text, 'latin1'));
  }
  const leaves = connectPlain(port, '127.0.0.1').on('error', () => undefined);
  leaves.once('connect', () => leaves.resetAndDestroy());
  await until('all are closed', () => closed.length === says.length);
  expect(await served(port, 'shop.example')).toBe('shop.example 30');
});

test('without a certificate a connection is closed', async () => {
  const port = await listener(certificates().certificates);
  await expect(handshake(port, 'shop.example')).rejects.toThrow();
});

describe('certificates are taken over when they are replaced', () => {
  test('by a rename, without an end to the connections with the old one', async () => {
    const { certificates: kept, lines } = certificates();
    const own = await files(made.shop);
    kept.apply([entry('shop', own), entry('blog', made.blog)]);
    const port = await listener(kept);
    const before = await handshake(port, 'shop.example');
    await own.put(made.next as Made);
    await becomes(port, 'shop.example', 'shop.example 365');
    before.write('still here');
    expect(String((await once(before, 'data'))[0])).toBe('still here');
    expect(await served(port)).toBe('shop.example 365');
    expect(lines.filter(({ level }) => level === 'error')).toEqual([]);
    expect(kept.expiries()).toMatchObject([
      { service: 'shop', certificate: own.certificate, days: 364 },
      { service: 'blog', certificate: made.blog?.certificate, days: 89 },
    ]);
  });

  test('by a link to another folder', async () => {
    const { certificates: kept } = certificates();
    const { dir } = await files(undefined);
    for (const version of ['shop', 'next'] as const) {
      await mkdir(join(dir, version));
      const from = made[version] as Made;
      await copyFile(from.certificate, join(dir, version, 'tls.crt'));
      await copyFile(from.key, join(dir, version, 'tls.key'));
    }
    await symlink('shop', join(dir, '..data'));
    for (const name of ['tls.crt', 'tls.key']) await symlink(join('..data', name), join(dir, name));
    kept.apply([entry('shop', { certificate: join(dir, 'tls.crt'), key: join(dir, 'tls.key') })]);
    const port = await listener(kept);
    await symlink('next', join(dir, '..data_tmp'));
    await rename(join(dir, '..data_tmp'), join(dir, '..data'));
    await becomes(port, 'shop.example', 'shop.example 365');
  });

  test('in place', async () => {
    const { certificates: kept } = certificates();
    const own = await files(made.shop);
    kept.apply([entry('shop', own)]);
    const port = await listener(kept);
    await writeFile(own.certificate, await readFile(made.next?.certificate ?? ''));
    await writeFile(own.key, await readFile(made.next?.key ?? ''));
    await becomes(port, 'shop.example', 'shop.example 365');
  });

  test('unless they cannot be used: the last good one stays, and the log says so, once', async () => {
    const { certificates: kept, lines } = certificates();
    const own = await files(made.shop);
    kept.apply([entry('shop', own), entry('blog', made.blog)]);
    const port = await listener(kept);
    const secret = await readFile(made.next?.key ?? '', 'utf8');
    const faults: [string, () => Promise<unknown>, string, RegExp][] = [
      ['a key of another', () => copyFile(made.other?.key ?? '', own.key), own.key, /not the key of/],
      [
        'no certificate',
        () => writeFile(own.certificate, 'nonsense'),
        own.certificate,
        /not a PEM certificate/,
      ],
      ['no file', () => rm(own.certificate), own.certificate, /not readable \(ENOENT\)/],
      [
        'half a key',
        async () => {
          await own.put(made.next as Made);
          await writeFile(own.key, secret.slice(0, 100));
        },
        own.key,
        /not a PEM private key/,
      ],
    ];
    for (const [what, act, file, cause] of faults) {
      lines.length = 0;
      await act();
      await until(`the log tells of ${what}`, () => lines.length > 0);
      expect(await served(port, 'shop.example')).toBe('shop.example 30');
      expect(await served(port, 'blog.example')).toBe('blog.example 90');
      expect(lines).toEqual([
        {
          level: 'error',
          message: expect.any(String),
          fields: { service: 'shop', file, error: expect.stringMatching(cause) },
        },
      ]);
      for (const part of secret.split('\n').slice(1, -2)) expect(JSON.stringify(lines)).not.toContain(part);
    }
    // an apply that says nothing new of it harms nothing
    kept.apply([entry('shop', own, ['store.example']), entry('blog', made.blog)]);
    expect(await served(port, 'store.example')).toBe('shop.example 30');
    lines.length = 0;
    await own.put(made.next as Made);
    await becomes(port, 'shop.example', 'shop.example 365');
    expect(lines).toMatchObject([{ level: 'info', fields: { service: 'shop' } }]);
  });
});

test('what cannot be used is refused when it is new, and nothing is changed', async () => {
  const { certificates: kept, lines } = certificates();
  kept.apply([entry('blog', made.blog)]);
  const port = await listener(kept);
  const dir = await mkdtemp(join(folder, 'test-'));
  const nonsense = join(dir, 'nonsense');
  await writeFile(nonsense, 'nonsense');
  const encrypted = join(dir, 'encrypted.key');
  await run('openssl', [
    'pkey',
    '-in',
    made.other?.key ?? '',
    '-aes256',
    '-passout',
    'pass:x',
    '-out',
    encrypted,
  ]);
  const weak = await make('weak', ['weak.example'], 30, ['rsa:512']);
  const good = made.other as Made;
  const broken = join(dir, 'broken-chain');
  await writeFile(
    broken,
    `${await readFile(good.certificate, 'utf8')}-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n`,
  );
  const faults: [Made, string, RegExp][] = [
    [{ ...good, certificate: join(dir, 'absent') }, join(dir, 'absent'), /ENOENT/],
    [{ ...good, key: join(dir, 'absent') }, join(dir, 'absent'), /ENOENT/],
    [{ ...good, key: dir }, dir, /not a file/],
    [{ ...good, certificate: '/dev/zero' }, '/dev/zero', /not a file/],
    [{ ...good, certificate: nonsense }, nonsense, /not a PEM certificate/],
    [{ ...good, key: nonsense }, nonsense, /not a PEM private key/],
    [{ ...good, key: encrypted }, encrypted, /without a passphrase/],
    [{ certificate: good.key, key: good.certificate }, good.key, /not a PEM certificate/],
    [{ ...good, key: made.shop?.key ?? '' }, made.shop?.key ?? '', /not the key of/],
    [{ ...good, certificate: broken }, broken, /not usable for TLS/],
    [weak, weak.certificate, /not usable for TLS/],
  ];
  for (const [pair, file, cause] of faults) {
    const error = refusal(() => kept.apply([entry('blog', made.blog), entry('shop', pair)]));
    expect(error.code).toBe('UD_TLS');
    expect(error.message).toContain('shop');
    expect(error.message).toContain(file);
    expect(error.message).toMatch(cause);
    expect(await served(port, 'other.example')).toBe('blog.example 90');
  }
  expect(lines).toEqual([]);
  kept.apply([entry('blog', made.blog), entry('shop', good)]);
  expect(await served(port, 'other.example')).toBe('other.example 30');
  kept.apply([entry('shop', good)]);
  expect(await served(port, 'blog.example')).toBe('other.example 30');
});

test('a certificate that has expired is served, and its days are negative', async () => {
  const { certificates: kept } = certificates();
  kept.apply([entry('shop', made.shop)]);
  expect(kept.expiries(Date.now() + 31 * 86_400_000)).toMatchObject([{ service: 'shop', days: -2 }]);
});

test('a WebSocket that came by TLS is told to go as any other', async () => {
  const { certificates: kept } = certificates();
  kept.apply([entry('shop', made.shop)]);
  const app = new WebSocketServer({ host: '127.0.0.1', port: 0 });
  await once(app, 'listening');
  onTestFinished(() => {
    app.close();
  });
  const closed: number[] = [];
  app.on('connection', (socket) => {
    socket.send('welcome');
    socket.once('close', (code) => closed.push(code));
  });
  const routes = [route('a', app.address() as AddressInfo)];
  const edge = await Edge.webSockets(routes);
  const port = await listener(kept, (socket) => edge.server.emit('connection', socket));
  const client = new WebSocket(`wss://127.0.0.1:${port}/`, { rejectUnauthorized: false });
  client.once('close', (code) => closed.push(code));
  expect(String((await once(client, 'message'))[0])).toBe('welcome');
  for (const work of edge.inFlight(routes)) (work as unknown as { goAway(): void }).goAway();
  await until('both are closed', () => closed.length === 2);
  expect(closed).toEqual([1001, 1001]);
  await until('nothing is left', () => edge.inFlight(routes).length === 0 && edge.clients.size === 0);
});
