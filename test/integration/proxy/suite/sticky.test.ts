import { describe, expect, test } from 'vitest';
import { startBareLoad } from '../../../support/http/bare-load.ts';
import { ENGINES, sharedStage } from '../engines.ts';
import { backend, route } from '../scene.ts';

const traffic = { sticky: { cookie: 'stay', pages: 0 } };

/** A client that keeps one cookie. */
class Browser {
  readonly #url: string;
  cookie = '';

  constructor(url: string) {
    this.#url = url;
  }

  /** Which instance answers. */
  async ask(): Promise<string> {
    const res = await fetch(this.#url, { headers: this.cookie === '' ? {} : { cookie: this.cookie } });
    this.cookie = res.headers.get('set-cookie')?.split(';')[0] ?? this.cookie;
    return (await res.text()).replace('revision ', '').trim();
  }
}

describe.each(ENGINES)('$engine', { timeout: 60_000 }, ({ open }) => {
  const at = sharedStage(open);

  const instances = async (...names: string[]) =>
    Promise.all(names.map(async (name) => route(name, await backend(name), { weight: 50 })));

  test('a client stays with its instance while weights change and instances come', async () => {
    const { apply, url } = at();
    const [a, b, c] = (await instances('a', 'b', 'c')) as [Route, Route, Route];
    await apply({ traffic, routes: [a, b] });
    const clients = Array.from({ length: 6 }, () => new Browser(url()));
    const homes = await Promise.all(clients.map((client) => client.ask()));
    expect(new Set(homes)).toEqual(new Set(['a', 'b']));
    const cookies = clients.map(({ cookie }) => cookie);
    for (const routes of [
      [{ ...a, weight: 1 }, b],
      [a, { ...b, weight: 1 }],
      [a, b, { ...c, revision: 2, weight: 256 }],
      [c, { ...b, weight: 256 }, a],
    ]) {
      await apply({ traffic, routes });
      for (let n = 0; n < 3; n++)
        expect(await Promise.all(clients.map((client) => client.ask()))).toEqual(homes);
    }
    // whoever is known is told nothing new
    expect(clients.map(({ cookie }) => cookie)).toEqual(cookies);
  });

  test.each(['drained', 'gone'])(
    'the clients of an instance that is %s stay within its revision',
    async (how) => {
      const { apply, url } = at();
      const [a, b, c] = (await instances('a', 'b', 'c')) as [Route, Route, Route];
      const newer = { ...c, revision: 2, weight: 256 };
      await apply({ traffic, routes: [a] });
      const clients = Array.from({ length: 4 }, () => new Browser(url()));
      for (const client of clients) expect(await client.ask()).toBe('a');
      await apply({ traffic, routes: how === 'drained' ? [{ ...a, weight: 0 }, b, newer] : [b, newer] });
      for (let n = 0; n < 5; n++) for (const client of clients) expect(await client.ask()).toBe('b');
      // where it comes back, they stay with the other
      await apply({ traffic, routes: [a, b, newer] });
      for (const client of clients) expect(await client.ask()).toBe('b');
      await apply({ traffic, routes: [newer] });
      for (const client of clients) expect(await client.ask()).toBe('c');
    },
  );

  test('clients that stay shift no shares of those that are new', async () => {
    const { apply, url } = at();
    const [a, b] = (await instances('a', 'b')) as [Route, Route];
    await apply({ traffic, routes: [a] });
    const regular = new Browser(url());
    await regular.ask();
    await apply({ traffic, routes: [a, { ...b, revision: 2 }] });
    let stop = false;
    const loyal = (async () => {
      while (!stop) expect(await regular.ask()).toBe('a');
    })();
    const { revisions } = await startBareLoad({ url: url(), connections: 4, requests: 400 }).ended;
    stop = true;
    await loyal;
    expect(Math.abs((revisions.b ?? 0) - 200)).toBeLessThanOrEqual(4);
  });

  test('the cookie is for this service alone and out of reach of scripts, and says nothing of the inside', async () => {
    const { apply, url } = at();
    await apply({ traffic, routes: await instances('i-secret') });
    const cookie = (await fetch(url())).headers.get('set-cookie');
    expect(cookie).toMatch(/^stay=1\.[0-9a-f]{16}; Path=\/; HttpOnly; SameSite=Lax$/);
  });

  test.each([
    ['stay=1.0011223344556677', 'none'],
    ['a=1; stay=1.0011223344556677; b=2', 'a=1; b=2'],
    ['a=1; stay=1.0011223344556677', 'a=1'],
    ['stay=1.0011223344556677; b=2', 'b=2'],
    ['mistay=2; b=1', 'mistay=2; b=1'],
  ])('of %s the instance sees %s', async (cookie, seen) => {
    const { apply, url } = at();
    const app = await backend((req, res) => res.end(req.headers.cookie ?? 'none'));
    await apply({ traffic, routes: [route('a', app)] });
    expect(await (await fetch(url(), { headers: { cookie } })).text()).toBe(seen);
  });

  test.each(['stay=', 'stay=x', 'stay=1', `stay=1.${'f'.repeat(16)}`, `stay=99.${'0'.repeat(16)}`])(
    'a client that says %s is served as a new one',
    async (cookie) => {
      const { apply, url } = at();
      await apply({ traffic, routes: await instances('a') });
      const res = await fetch(url(), { headers: { cookie } });
      expect(res.status).toBe(200);
      expect(res.headers.get('set-cookie')).toMatch(/^stay=1\./);
    },
  );
});

type Route = ReturnType<typeof route>;
