import { expect, test } from 'vitest';
import { BROKEN, MORE, Parser } from '../../../src/proxy/embedded/http1/llhttp.ts';

const HEAD = Buffer.from('GET / HTTP/1.1\r\nHost: a\r\n\r\n');

test('a parser that was given back touches nothing of the next one in its memory', () => {
  const old = new Parser('request');
  old.readHead(HEAD.subarray(0, 5), 1_000);
  old.free();
  const next = new Parser('request');
  next.readHead(HEAD.subarray(0, 10), 1_000);
  old.reset();
  old.startChunks();
  old.free();
  expect(old.readHead(HEAD, 1_000)).toBe(BROKEN);
  expect(old.readChunks(HEAD, [])).toBe(BROKEN);
  expect(next.readHead(HEAD.subarray(10), 1_000)).toBe(HEAD.length - 10);
  expect(next.take().name(0)).toBe('Host');
  next.free();
});

test('pieces of any size are read, each larger than the one before', () => {
  const parser = new Parser('request');
  const head = Buffer.from('POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n');
  expect(parser.readHead(head, 1_000)).toBe(head.length);
  parser.take();
  parser.startChunks();
  for (let size = 60_000; size < 3_000_000; size += 20_000) {
    const contents: Buffer[] = [];
    const chunk = Buffer.concat([
      Buffer.from(`${size.toString(16)}\r\n`),
      Buffer.alloc(size, 'x'),
      Buffer.from('\r\n'),
    ]);
    expect(parser.readChunks(chunk, contents)).toBe(MORE);
    expect(contents.reduce((sum, each) => sum + each.length, 0)).toBe(size);
  }
  parser.free();
});
