import { chmod, mkdir, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { contentsOf, differences } from '../../../src/artifact/contents.ts';
import { digestText } from '../../../src/artifact/digest.ts';
import { buildVolume } from '../../../src/artifact/volume.ts';
import type { VolumeConfig } from '../../../src/config/config.ts';
import { ignoreLines, reference, temporaryFolder, writeFiles } from './folder.ts';

const FORMATS = ['squashfs', 'ext4', 'iso9660'] as const;

async function packed(format: (typeof FORMATS)[number], files: Record<string, string>): Promise<string> {
  const folder = await temporaryFolder();
  await writeFiles(folder, { ...files, 'run.sh': '#!/bin/sh\n' });
  await chmod(join(folder, 'run.sh'), 0o755);
  await symlink('index.html', join(folder, 'link'));
  await mkdir(join(folder, 'empty'));
  const config: VolumeConfig = {
    ...{
      name: 'code',
      format,
      owners: 'root',
      maxSize: null,
      probe: '/r',
      revision: null,
      where: 'unideploy.yaml:9:5',
    },
    content: { kind: 'source', folder: reference(folder) },
  };
  return (await buildVolume(config, await temporaryFolder(), ignoreLines)).file;
}

describe.each(FORMATS)('what a %s volume holds', (format) => {
  it('is read without mounting it, to the byte, and without what unideploy put in', async () => {
    const file = await packed(format, { 'index.html': 'hello', 'a/deep file.txt': 'deep' });
    expect(await contentsOf(file, format)).toEqual([
      { kind: 'folder', path: 'a' },
      { kind: 'file', path: 'a/deep file.txt', executable: false, size: 4, digest: digestText('deep') },
      { kind: 'folder', path: 'empty' },
      { kind: 'file', path: 'index.html', executable: false, size: 5, digest: digestText('hello') },
      { kind: 'link', path: 'link', target: 'index.html' },
      { kind: 'file', path: 'run.sh', executable: true, size: 10, digest: digestText('#!/bin/sh\n') },
    ]);
  });

  it('is told from what another one holds', async () => {
    const one = await contentsOf(await packed(format, { 'index.html': 'v1', gone: 'x' }), format);
    const other = await contentsOf(await packed(format, { 'index.html': 'v2', 'new/file': 'x' }), format);
    expect(differences(one, other)).toEqual([
      { path: 'gone', change: 'removed' },
      { path: 'index.html', change: 'changed' },
      { path: 'new', change: 'added' },
      { path: 'new/file', change: 'added' },
    ]);
    expect(differences(one, one)).toEqual([]);
  });

  it('is not made up from bytes that are none', async () => {
    const file = join(await temporaryFolder(), 'garbage');
    await writeFile(file, Buffer.alloc(100_000, 7));
    await expect(contentsOf(file, format)).rejects.toMatchObject({ code: 'UD_BUILD_FAILED' });
  });
});
