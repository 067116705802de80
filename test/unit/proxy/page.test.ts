import { describe, expect, it } from 'vitest';
import { isForPage } from '../../../src/proxy/embedded/page.ts';

const asked = (method: string, ...lines: string[]) =>
  isForPage({ method, lines: lines.map((line) => `${line}\r\n`).join('') });

describe('what an open page asks for', () => {
  it.each<[boolean, string, string[]]>([
    [false, 'GET', ['Sec-Fetch-Mode: navigate', 'Accept: text/html']],
    [true, 'GET', ['sec-fetch-mode: no-cors', 'Accept: text/css']],
    [true, 'POST', ['Sec-Fetch-Mode: cors', 'Accept: */*']],
    // by browsers that say no more to servers they do not trust
    [true, 'GET', ['Host: shop', 'Referer: http://shop/', 'Accept: image/*']],
    [true, 'HEAD', ['referer: http://shop/']],
    [false, 'GET', ['Referer: http://shop/', 'Accept: text/html,*/*']],
    [false, 'POST', ['Referer: http://shop/', 'Accept: */*']],
    [false, 'GET', ['Accept: */*']],
    [false, 'GET', ['X-Referer: http://shop/']],
  ])('%s: %s %j', (expected, method, lines) => {
    expect(asked(method, ...lines)).toBe(expected);
  });
});
