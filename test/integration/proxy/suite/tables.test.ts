import { describe, expect, test } from 'vitest';
import { type Change, ENGINES, sharedStage } from '../engines.ts';
import { backend, route } from '../scene.ts';

describe.each(ENGINES)('$engine', { timeout: 60_000 }, ({ open }) => {
  const at = sharedStage(open);

  test.each([
    ['a weight that is a fraction', { routes: [route('a', { port: 1 }, { weight: 0.5 })] }],
    ['a negative weight', { routes: [route('a', { port: 1 }, { weight: -1 })] }],
    ['a field nobody knows', { routes: [], colour: 'red' }],
    ['a policy nobody knows', { routes: [], traffic: { colour: 'red' } }],
    ['a version that is none', { routes: [], version: 1e300 }],
  ])('a table with %s is refused whole', async (_what, change) => {
    await at().apply({ routes: [route('a', await backend('1'))] });
    await expect(at().apply(change as Change)).rejects.toMatchObject({ code: 'UD_TABLE_REFUSED' });
    expect((await fetch(at().url())).status).toBe(200);
  });
});
