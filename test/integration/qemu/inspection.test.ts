import { execFileSync } from 'node:child_process';
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { findUsers } from '../../../src/confinement.ts';
import type { CodeVolume, Digest } from '../../../src/domain/revision.ts';
import { inspectRevision } from '../../../src/hypervisor/qemu/index.ts';
import { type World, world } from '../../support/qemu/world.ts';

let here: World;
beforeAll(async () => {
  here = await world();
  await mkdir(here.state, { recursive: true });
});
afterAll(() => here.end());

async function image(...words: string[]): Promise<Digest> {
  const path = join(here.state, 'made.img');
  execFileSync('qemu-img', ['create', '-q', '-f', 'qcow2', ...words, path, '1M']);
  return await here.keep(path);
}
const looked = async (disk: Digest, format: 'raw' | 'qcow2' = 'qcow2') =>
  inspectRevision(
    { image: { kind: 'disk', disk, format }, volumes: [] },
    { ...here, users: await findUsers() },
  );

test('a whole image is taken, and nothing is left of looking at it', async () => {
  await looked(await image());
  expect(await readdir(join(here.state, 'run'))).toEqual([]);
});

test.each(['/etc/passwd', 'json:{"driver":"file","filename":"/etc/passwd"}', 'nbd://127.0.0.1:1/x'])(
  'an image over %s is refused',
  async (backing) => {
    const disk = await image('-u', '-b', backing, '-F', 'raw');
    await expect(looked(disk)).rejects.toMatchObject({
      code: 'UD_IMAGE_REFUSED',
      message: expect.stringContaining('backing file'),
    });
  },
);

test('an image with its data in another file is refused', async () => {
  const disk = await image('-o', `data_file=${join(here.state, 'outside')}`);
  await expect(looked(disk)).rejects.toMatchObject({ code: 'UD_IMAGE_REFUSED' });
});

test('what is no image of its format is refused, and not taken for another one', async () => {
  const path = join(here.state, 'noise');
  await writeFile(path, 'x'.repeat(4096));
  const noise = await here.keep(path);
  await expect(looked(noise)).rejects.toMatchObject({ code: 'UD_IMAGE_REFUSED' });
  await looked(noise, 'raw');
});

test('tables that would fill the memory are refused soon', async () => {
  const path = join(here.state, 'bomb');
  execFileSync('qemu-img', ['create', '-q', '-f', 'qcow2', path, '1M']);
  const bytes = await readFile(path);
  // Size of the disk and of its first table, from QEMU's docs/interop/qcow2.txt: as large as they can be said to be.
  bytes.writeBigUInt64BE(1n << 62n, 24);
  bytes.writeUInt32BE(0x7fffffff, 36);
  await writeFile(path, bytes);
  const began = Date.now();
  await expect(looked(await here.keep(path))).rejects.toMatchObject({ code: 'UD_IMAGE_REFUSED' });
  expect(Date.now() - began).toBeLessThan(20_000);
});

test('a volume that is an image over another file is refused, whatever it is said to be', async () => {
  const digest = await image('-u', '-b', '/etc/passwd', '-F', 'raw');
  const volume: CodeVolume = { name: 'code', digest, format: 'raw', size: 1, revision: null, probe: '/' };
  const kernel = { kind: 'kernel', kernel: digest, initrd: null } as const;
  await expect(
    inspectRevision({ image: kernel, volumes: [volume] }, { ...here, users: await findUsers() }),
  ).rejects.toMatchObject({
    code: 'UD_IMAGE_REFUSED',
    message: 'volume code is a qcow2 image that names a backing file',
  });
});
