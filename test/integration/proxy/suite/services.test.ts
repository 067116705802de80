import { describe, expect, test } from 'vitest';
import type { Match } from '../../../../src/domain/traffic.ts';
import { ENGINES, sharedStage } from '../engines.ts';
import { backend, route } from '../scene.ts';
import { answerTo } from './wire.ts';

describe.each(ENGINES)('$engine', { timeout: 60_000 }, ({ open }) => {
  const at = sharedStage(open);

  async function serve(service: string, match: Match[]): Promise<void> {
    const listen = { host: '127.0.0.1', port: service === 'shop' ? 0 : at().port() };
    const routes = [route('a', await backend(service))];
    await at().apply({ service, listen, traffic: { match }, routes });
  }

  /** The service that answers, or the status where none does. */
  async function whose(host: string, path: string): Promise<string> {
    const answer = await answerTo(
      at().port(),
      `GET ${path} HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`,
    );
    return /revision (\w+)/.exec(answer)?.[1] ?? answer.slice(9, 12);
  }

  test('a host counts more than a path, a long path more than a short one, whole segments alone', async () => {
    await serve('shop', [{ host: 'shop.test', path: '/' }]);
    await serve('cart', [{ host: 'shop.test', path: '/cart/' }]);
    await serve('items', [{ host: 'shop.test', path: '/cart/items' }]);
    await serve('api', [{ host: null, path: '/api' }]);
    await serve('rest', []);
    for (const [host, path, service] of [
      ['shop.test', '/', 'shop'],
      ['SHOP.test:8080', '/x', 'shop'],
      ['shop.test', '/cart', 'cart'],
      ['shop.test', '/cart?x', 'cart'],
      ['shop.test', '/cart/1', 'cart'],
      ['shop.test', '/carts', 'shop'],
      ['shop.test', '/cart/items/1', 'items'],
      ['shop.test', '/cart/itemsize', 'cart'],
      ['shop.test', '/api', 'shop'],
      ['other.test', '/api/v1', 'api'],
      ['other.test', '/apis', 'rest'],
      ['127.0.0.1', '/', 'rest'],
    ] as const)
      expect([host, path, await whose(host, path)]).toEqual([host, path, service]);
  });

  test('who asks for none of them gets 404', async () => {
    await serve('shop', [{ host: 'shop.test', path: '/' }]);
    const answer = await answerTo(
      at().port(),
      'GET / HTTP/1.1\r\nHost: blog.test\r\nConnection: close\r\n\r\n',
    );
    expect(answer).toMatch(/^HTTP\/1\.1 404 /);
    expect(answer).toMatch(/x-unideploy-proxy: no-service/i);
    expect((await at().status()).requests).toBe(0);
  });

  test('requests on one connection go to the service that each is for', async () => {
    await serve('shop', [{ host: null, path: '/shop' }]);
    await serve('blog', [{ host: null, path: '/blog' }]);
    const ask = (path: string, more = '') => `GET ${path} HTTP/1.1\r\nHost: a\r\n${more}\r\n`;
    const answer = await answerTo(
      at().port(),
      ask('/shop') + ask('/blog') + ask('/none') + ask('/shop', 'Connection: close\r\n'),
    );
    expect(answer.match(/revision \w+|HTTP\/1\.1 404/g)).toEqual([
      'revision shop',
      'revision blog',
      'HTTP/1.1 404',
      'revision shop',
    ]);
  });

  test('the same requests cannot be claimed twice on one address', async () => {
    await serve('shop', [{ host: 'shop.test', path: '/cart' }]);
    await serve('rest', []);
    for (const match of [[{ host: 'Shop.test', path: '/cart/' }], []])
      await expect(serve('thief', match)).rejects.toMatchObject({ code: 'UD_PORT_IN_USE' });
    expect(await whose('shop.test', '/cart')).toBe('shop');
    expect((await at().plane.status()).map(({ service }) => service).sort()).toEqual(['rest', 'shop']);
  });

  test('one that does not speak HTTP shares its address with nobody', async () => {
    await serve('shop', [{ host: 'shop.test', path: '/' }]);
    const listen = { host: '127.0.0.1', port: at().port() };
    const bare = { service: 'bare', listen, traffic: { mode: 'tcp' as const }, routes: [] };
    await expect(at().apply(bare)).rejects.toMatchObject({ code: 'UD_PORT_IN_USE' });
    expect(await whose('shop.test', '/')).toBe('shop');
  });

  test('a service that is removed leaves the others, and its requests to whoever takes the rest', async () => {
    await serve('shop', [{ host: 'shop.test', path: '/' }]);
    await serve('cart', [{ host: 'shop.test', path: '/cart' }]);
    expect(await whose('shop.test', '/cart')).toBe('cart');
    await at().plane.remove('cart', 1_000);
    expect(await whose('shop.test', '/cart')).toBe('shop');
    await serve('cart', [{ host: 'shop.test', path: '/cart' }]);
    await at().plane.remove('shop', 1_000);
    expect([await whose('shop.test', '/cart'), await whose('shop.test', '/')]).toEqual(['cart', '404']);
  });
});
