import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { DEFAULT_TRAFFIC } from '../../src/domain/traffic.ts';
import { ENGINES, sharedStage } from '../integration/proxy/engines.ts';
import { backend, route } from '../integration/proxy/scene.ts';
import { mutatedJson } from '../support/fuzz/mutations.ts';
import { ask, contentType, query, refusedOrDone, segment } from '../support/fuzz/requests.ts';
import { rounds } from '../support/fuzz/rounds.ts';

const TABLE = {
  service: 'shop',
  version: 1_000,
  listen: { host: '127.0.0.1', port: 0 },
  hold: false,
  preview: null,
  traffic: DEFAULT_TRAFFIC,
  routes: [
    { instance: 'shop-1-1', revision: 1, host: '127.0.0.1', port: 9, weight: 100 },
    { instance: 'shop-1-2', revision: 1, host: '127.0.0.1', port: 10, weight: 0 },
  ],
};
const ROUTES = [
  ...['', 'tables', 'tables/:x/figures', 'metrics', 'tables/:x/instances/:x/drained'].map((path) => [
    'GET',
    path,
  ]),
  ...['PUT', 'DELETE'].map((method) => [method, 'tables/:x']),
] as [string, string][];

describe.each(ENGINES.filter(({ engine }) => engine === 'embedded'))(
  'control of the $engine data plane',
  ({ open }) => {
    const at = sharedStage(open);

    it('takes any message, and goes on serving', async () => {
      const good = await backend('1');
      await at().apply({ service: 'other', routes: [route('good', good)] });
      const { port } = (await at().status('other')).listen;
      const socket = join(at().state, 'proxy.sock');
      const name = fc.oneof(fc.constantFrom('shop', 'shop-1-1'), segment);
      const body = fc.oneof(
        { weight: 8, arbitrary: mutatedJson(TABLE) },
        fc.json(),
        fc.string({ unit: 'binary' }),
      );
      const asked = fc.oneof(query, fc.constantFrom('?deadlineMs=1', '?graceMs=0', '?deadlineMs=1e999'));
      for (const [method, path] of ROUTES)
        await fc.assert(
          fc.asyncProperty(name, name, asked, contentType, body, async (first, second, more, type, text) => {
            // that one is the witness
            fc.pre(!`${first} ${text}`.includes('other'));
            const names = [first, second];
            const whole = `/${path.replaceAll(':x', () => names.shift() ?? '')}${more}`;
            refusedOrDone(await ask(socket, { method, path: whole }, method === 'PUT' ? text : null, type));
          }),
          { numRuns: rounds(method === 'PUT' ? 200 : 20) },
        );
      expect(await (await fetch(`http://127.0.0.1:${port}/`)).text()).toBe('revision 1\n');
      expect((await at().plane.status()).map(({ service }) => service)).toContain('other');
    });
  },
);
