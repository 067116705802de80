import { describe, expect, test } from 'vitest';
import { ENGINES, sharedStage } from '../engines.ts';
import { backend, openWire, route, until } from '../scene.ts';

const traffic = { preview: { host: 'next.test', header: { name: 'X-Preview', value: 'it"s-me' } } };

describe.each(ENGINES)('$engine', { timeout: 60_000 }, ({ open }) => {
  const at = sharedStage(open);

  const byHeader = async (value: string) => {
    const answer = await fetch(at().url(), { headers: { 'x-preview': value } });
    return (await answer.text()).trim();
  };
  const byHost = async (host: string) => {
    const wire = await openWire(at().port());
    wire.socket.write(`GET / HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`);
    await until('the answer', () => wire.closed());
    return wire
      .received()
      .split('\r\n\r\n')[1]
      ?.match(/revision \d/)?.[0];
  };
  const plainly = async () => (await (await fetch(at().url())).text()).trim();

  const routes = async () => [
    route('old', await backend('1')),
    route('new', await backend('2'), { revision: 2, weight: 0 }),
  ];

  test('the new revision is reached by host and by header before it has a weight; all others get the old', async () => {
    const { apply, status } = at();
    await apply({ traffic, preview: 2, routes: await routes() });
    for (let n = 0; n < 5; n++) {
      expect(await byHeader('it"s-me')).toBe('revision 2');
      expect(await byHost('next.test')).toBe('revision 2');
      expect(await byHost('NEXT.test:8080')).toBe('revision 2');
      expect(await byHeader('someone else')).toBe('revision 1');
      expect(await byHost('old.next.test')).toBe('revision 1');
      expect(await plainly()).toBe('revision 1');
    }
    expect((await status()).preview).toBe(2);
  });

  test('without a revision to preview, those requests are as all others', async () => {
    const { apply } = at();
    const both = await routes();
    await apply({ traffic, routes: both });
    expect([await byHeader('it"s-me'), await byHost('next.test')]).toEqual(['revision 1', 'revision 1']);
    await apply({ traffic, preview: 2, routes: both });
    expect(await byHeader('it"s-me')).toBe('revision 2');
    await apply({ traffic, preview: null, routes: both });
    expect(await byHeader('it"s-me')).toBe('revision 1');
  });

  test('the preview is reached while all other requests are held', async () => {
    const { apply, status } = at();
    await apply({ traffic, preview: 2, hold: true, routes: await routes() });
    expect(await byHeader('it"s-me')).toBe('revision 2');
    expect(await status()).toMatchObject({ held: 0 });
  });
});
