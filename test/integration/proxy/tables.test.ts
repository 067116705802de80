import { expect, test } from 'vitest';
import { DEFAULT_TRAFFIC } from '../../../src/domain/traffic.ts';
import { scene } from './scene.ts';

test('a table that is applied under another name than its own is refused', async () => {
  const proxy = scene();
  const table = {
    service: 'other',
    version: 1,
    listen: { host: '127.0.0.1', port: 0 },
    hold: false,
    preview: null,
    traffic: DEFAULT_TRAFFIC,
    routes: [],
  };
  await expect(proxy.plane.apply('shop', table)).rejects.toMatchObject({ code: 'UD_TABLE_REFUSED' });
  expect(proxy.plane.status()).toEqual([]);
});
