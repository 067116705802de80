import { once } from 'node:events';
import { type AddressInfo, createServer } from 'node:net';
import { connect } from 'node:tls';
import fc from 'fast-check';
import { beforeAll, describe, expect, test } from 'vitest';
import { helloName } from '../../../src/proxy/embedded/tls/hello.ts';

/** What a real client sends first. */
async function hello(servername: string | undefined, more = {}): Promise<Buffer> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  const accepted = once(server, 'connection');
  const client = connect({ port, host: '127.0.0.1', ...(servername ? { servername } : {}), ...more });
  client.on('error', () => undefined);
  const [socket] = await accepted;
  const [bytes] = await once(socket, 'data');
  client.destroy();
  socket.destroy();
  server.close();
  return bytes;
}

/** The same message in records of other sizes. */
function inRecords(bytes: Buffer, sizes: number[]): Buffer {
  const parts: Buffer[] = [];
  let rest = bytes.subarray(5);
  for (const size of [...sizes, rest.length]) {
    const part = rest.subarray(0, size);
    rest = rest.subarray(size);
    if (part.length > 0) parts.push(Buffer.from([22, 3, 1, part.length >> 8, part.length & 0xff]), part);
  }
  return Buffer.concat(parts);
}

describe('the host that a client asks for', () => {
  let asks: Buffer;
  beforeAll(async () => {
    asks = await hello('www.shop.example', { ALPNProtocols: ['h2', 'http/1.1'] });
  });

  test('is read, with both versions of TLS', async () => {
    expect(helloName(asks)).toBe('www.shop.example');
    expect(helloName(await hello('a.example', { maxVersion: 'TLSv1.2' }))).toBe('a.example');
  });

  test('is none where it does not ask for one', async () => {
    expect(helloName(await hello(undefined))).toBe('');
  });

  test('is not known before the whole message has come, whatever its records are', () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 1, max: 200 }), { maxLength: 30 }), (sizes) => {
        const bytes = inRecords(asks, sizes);
        for (let end = 0; end < bytes.length; end += 7)
          expect(helloName(bytes.subarray(0, end))).toBeUndefined();
        expect(helloName(bytes)).toBe('www.shop.example');
        expect(helloName(Buffer.concat([bytes, Buffer.from([20, 3, 3])]))).toBe('www.shop.example');
      }),
      { numRuns: 50 },
    );
  });

  test('is none in what is not TLS', () => {
    for (const text of [
      'GET / HTTP/1.1\r\n',
      '\0',
      '\x15\x03\x01\0\x02\x02\x28',
      '\x16\x03\x01\0\0',
      '\x16\x03\x01\0\x01\x02',
    ])
      expect(helloName(Buffer.from(text, 'latin1'))).toBe('');
    // longer than any client's
    expect(helloName(Buffer.from([22, 3, 1, 0, 4, 1, 0xff, 0xff, 0xff]))).toBe('');
  });

  test('is a text or none in a message that was damaged, never an error', () => {
    fc.assert(
      fc.property(fc.nat({ max: 4_000 }), fc.integer({ min: 0, max: 255 }), (place, byte) => {
        const damaged = Buffer.from(asks);
        damaged[place % damaged.length] = byte;
        expect(['string', 'undefined']).toContain(typeof helloName(damaged));
      }),
      { numRuns: 2_000 },
    );
  });
});
