import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { checkedTraffic } from '../../../src/cli/traffic.ts';
import { parseConfig } from '../../../src/config/load.ts';

let folder: string;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'unideploy-traffic-'));
});

afterEach(() => rm(folder, { recursive: true, force: true }));

const config = (tls: string) =>
  parseConfig(
    join(folder, 'unideploy.yaml'),
    `service: a\nlisten: 1\nguest: {profile: linux, kernel: k}\nproxy:\n  tls:\n${tls}`,
  );

const TLS = '    certificate: shop.pem\n    key: shop.key\n';

describe('the TLS files of a service', () => {
  it('are told by their paths, and not what is in them', async () => {
    await writeFile(join(folder, 'shop.pem'), 'public');
    await writeFile(join(folder, 'shop.key'), 'secret');
    const { tls } = await checkedTraffic(config(TLS).traffic);
    expect(tls).toEqual({ certificate: join(folder, 'shop.pem'), key: join(folder, 'shop.key') });
  });

  it.each([
    ['shop.pem', '7:10: shop.key'],
    ['shop.key', '6:18: shop.pem'],
  ])('must be there: with %s alone the other is missed at its place', async (there, missed) => {
    await writeFile(join(folder, there), '');
    await expect(checkedTraffic(config(TLS).traffic)).rejects.toMatchObject({
      code: 'UD_FILE_NOT_FOUND',
      message: `${join(folder, 'unideploy.yaml')}:${missed} is no file: it does not exist`,
    });
  });

  it('are files', async () => {
    await writeFile(join(folder, 'shop.pem'), '');
    const { traffic } = config('    certificate: shop.pem\n    key: .\n');
    await expect(checkedTraffic(traffic)).rejects.toMatchObject({
      code: 'UD_FILE_NOT_FOUND',
      message: expect.stringContaining(':7:10: . is not a file'),
    });
  });
});
