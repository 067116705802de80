import { expect, test } from 'vitest';
import { BROKEN, Parser } from '../../../src/proxy/embedded/http1/llhttp.ts';

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
