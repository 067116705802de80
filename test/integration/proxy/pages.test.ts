import { once } from 'node:events';
import { get, type IncomingMessage } from 'node:http';
import { text } from 'node:stream/consumers';
import { describe, expect, test } from 'vitest';
import { embeddedDataPlane } from '../../../src/proxy/embedded/client.ts';
import { sharedStage } from './engines.ts';
import { backend, route } from './scene.ts';

const PAGES = 1500;
const traffic = { sticky: { cookie: 'stay', pages: PAGES } };

/** What a browser sends with the address bar, and what a page asks for in it; the last to servers that are not trusted. */
const PAGE = { 'sec-fetch-mode': 'navigate', accept: 'text/html,*/*' };
const ASSET = { 'sec-fetch-mode': 'no-cors', accept: 'image/avif,*/*' };
const PLAIN_ASSET = { referer: 'http://shop/', accept: 'text/css,*/*' };

describe('pages of a revision that takes no new ones', { timeout: 60_000 }, () => {
  // Of two workers, so that a page and what it asks for may be answered by different ones.
  const at = sharedStage((state) => embeddedDataPlane({ state, workers: 2 }));

  /** Not by fetch, which says `Sec-Fetch-Mode` as it likes; on a connection of its own, as to both workers. */
  async function ask(headers: Record<string, string>): Promise<{ said: string; cookie: string }> {
    const asked = get(at().url(), { agent: false, headers });
    const [answer] = (await once(asked, 'response')) as [IncomingMessage];
    const said = (await text(answer)).replace('revision ', '').trim();
    return { said, cookie: answer.headers['set-cookie']?.[0]?.split(';')[0] ?? '' };
  }

  async function twoRevisions() {
    const [old, newer] = [route('a', await backend('old')), route('b', await backend('new'))];
    return { old, newer: { ...newer, revision: 2 } };
  }

  test('are given what they ask for by it, for a while, and a new page is of the next', async () => {
    const { old, newer } = await twoRevisions();
    await at().apply({ traffic, routes: [old] });
    const { cookie } = await ask(PAGE);
    const begun = Date.now();
    await at().apply({ traffic, routes: [{ ...old, weight: 0 }, newer] });
    const drain = at().plane.drained('shop', 'a', 10_000);
    for (let n = 0; n < 4; n++) {
      expect((await ask({ ...ASSET, cookie })).said).toBe('old');
      expect((await ask({ ...PLAIN_ASSET, cookie })).said).toBe('old');
      expect((await ask({ ...PAGE, cookie })).said).toBe('new');
      expect((await ask(ASSET)).said).toBe('new');
    }
    expect(await drain).toMatchObject({ cut: 0 });
    expect(Date.now() - begun).toBeGreaterThanOrEqual(PAGES);
    expect((await ask({ ...ASSET, cookie })).said).toBe('new');
  });

  test('are finished while new requests are held', async () => {
    const { old, newer } = await twoRevisions();
    await at().apply({ traffic, routes: [old] });
    const { cookie } = await ask(PAGE);
    await at().apply({ traffic, routes: [old], hold: true });
    const next = ask({ ...PAGE, cookie });
    expect((await ask({ ...ASSET, cookie })).said).toBe('old');
    await at().plane.drained('shop', 'a', 10_000);
    const late = ask({ ...ASSET, cookie });
    await at().apply({ traffic, routes: [newer] });
    expect([(await next).said, (await late).said]).toEqual(['new', 'new']);
  });

  test.each([
    ['it has another instance', 0, traffic],
    ['nobody wants it', 1, { sticky: { cookie: 'stay', pages: 0 } }],
  ])('hold no drain up where %s', async (_why, others, policy) => {
    const { old, newer } = await twoRevisions();
    const other = { ...route('c', await backend('old')), revision: others === 0 ? 1 : 2 };
    await at().apply({ traffic: policy, routes: [old, other, newer] });
    await at().apply({ traffic: policy, routes: [{ ...old, weight: 0 }, other, newer] });
    const begun = Date.now();
    await at().plane.drained('shop', 'a', 10_000);
    expect(Date.now() - begun).toBeLessThan(PAGES / 2);
  });
});
