import { createWriteStream } from 'node:fs';
import { link, readFile, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { createGzip } from 'node:zlib';
import { execa } from 'execa';
import { type Headers, pack } from 'tar-stream';
import { describe, expect, it } from 'vitest';
import { buildVolume } from '../../../src/artifact/volume.ts';
import type { VolumeConfig } from '../../../src/config/config.ts';
import { ignoreLines, reference, temporaryFolder, writeFiles } from './folder.ts';

const FORMATS = ['squashfs', 'ext4', 'iso9660'] as const;
type Format = (typeof FORMATS)[number];

/** Mode, user and group by path. */
type Owned = Record<string, [mode: string, user: number, group: number]>;

/** As a container has them: a service's own files, a set-user-id program, names that tools could read as patterns. */
const WANTED: Owned = {
  '/etc': ['drwxr-xr-x', 0, 0],
  '/etc/secret': ['-rw-r-----', 0, 33],
  '/usr': ['drwxr-xr-x', 0, 0],
  '/usr/su': ['-rwsr-xr-x', 0, 0],
  '/var': ['drwxrwxr-x', 33, 33],
  '/var/[a]* ?': ['-rw-r--r--', 70_000, 80_000],
  '/var/it\'s "b\\"': ['-rw-r--r--', 5, 6],
  '/var/link': ['lrwxrwxrwx', 33, 33],
};

function headers(): (Headers & { text?: string })[] {
  return [
    { name: './', type: 'directory', mode: 0o755 },
    { name: './etc/', type: 'directory', mode: 0o755 },
    { name: './etc/secret', mode: 0o640, gid: 33, text: 'word\n' },
    { name: 'usr/su', mode: 0o4755, text: '#!/bin/sh\n' },
    { name: 'var', type: 'directory', mode: 0o775, uid: 33, gid: 33 },
    { name: 'var/[a]* ?', uid: 70_000, gid: 80_000, mode: 0o644, text: 'a' },
    { name: `var/it's "b\\"`, uid: 5, gid: 6, mode: 0o644, text: 'b' },
    { name: 'var/link', type: 'symlink', linkname: '../etc/secret', uid: 33, gid: 33, mode: 0o777 },
  ];
}

async function archive(entries = headers(), gzip = false): Promise<string> {
  const file = join(await temporaryFolder(), 'site.tar');
  const packing = pack();
  for (const { text, ...header } of entries) packing.entry(header, text ?? '');
  packing.finalize();
  await (gzip
    ? pipeline(packing, createGzip(), createWriteStream(file))
    : pipeline(packing, createWriteStream(file)));
  return file;
}

async function built(source: string, more: Partial<VolumeConfig> = {}) {
  const config: VolumeConfig = {
    ...{ name: 'code', content: { kind: 'source', folder: reference(source) }, format: 'squashfs' },
    ...{ owners: 'preserve', maxSize: null, probe: '/r', revision: null, where: 'unideploy.yaml:9:5' },
    ...more,
  };
  return await buildVolume(config, await temporaryFolder(), ignoreLines);
}

/** What the file systems' own tools read. */
const READERS: Record<Format, (file: string) => Promise<Owned>> = {
  squashfs: async (file) => {
    const { stdout } = await execa('unsquashfs', ['-lln', file]);
    return read(stdout, /^(\S{10}) (\d+)\/(\d+) +\d+ \S+ \S+ squashfs-root(\/.*?)(?: -> .*)?$/gm);
  },
  ext4: async (file) => {
    const owned: Owned = {};
    for (const path of Object.keys(WANTED)) {
      const { stdout } = await execa('debugfs', ['-R', `stat "${path.replaceAll('"', '""')}"`, file]);
      const [, type = '', mode = '', user, group] =
        /Type: (\w+) +Mode: +(\d+)[\s\S]*User: +(\d+) +Group: +(\d+)/.exec(stdout) ?? [];
      owned[path] = [words(type, Number.parseInt(mode, 8)), Number(user), Number(group)];
    }
    return owned;
  },
  iso9660: async (file) => {
    const { stdout } = await execa('xorriso', ['-no_rc', '-indev', file, '-find', '/', '-exec', 'lsdl']);
    return read(
      stdout.replaceAll(`'"'"'`, "'"),
      /^(\S{10}) +\d+ (\d+) +(\d+) +\d+ .{12} '(\/.*?)'(?: -> .*)?$/gm,
    );
  },
};

function read(text: string, line: RegExp): Owned {
  const found = [...text.matchAll(line)].map(([, mode = '', user, group, path = '']) => [
    path,
    [mode, Number(user), Number(group)],
  ]);
  return Object.fromEntries(found.filter(([path]) => String(path) in WANTED));
}

function words(type: string, mode: number): string {
  const letter = { directory: 'd', regular: '-', symlink: 'l' }[type];
  const bits = [...'rwxrwxrwx'].map((bit, i) => ((mode >> (8 - i)) & 1 ? bit : '-'));
  if (mode & 0o4000) bits[2] = 's';
  return `${letter}${bits.join('')}`;
}

describe.each(FORMATS)('owners in a %s volume', (format) => {
  it('are those of the archive, with their modes, read by whoever packs it', async () => {
    const { file } = await built(await archive(), { format });
    expect(await READERS[format](file)).toEqual(WANTED);
  });

  it('are root, with plain modes, unless they are to be preserved', async () => {
    const { file } = await built(await archive(), { format, owners: 'root' });
    const owned = await READERS[format](file);
    // nobody can write to an ISO 9660
    const mode = (text: string) => (format === 'iso9660' ? text.replace('w', '-') : text);
    expect(owned['/var']).toEqual([mode('drwxr-xr-x'), 0, 0]);
    expect(owned['/usr/su']).toEqual([mode('-rwxr-xr-x'), 0, 0]);
    expect(owned['/etc/secret']).toEqual([mode('-rw-r--r--'), 0, 0]);
  });

  it('make it another volume, and the same ones the same bytes, from an archive or from its folder', async () => {
    const one = await built(await archive(), { format });
    // Times count in seconds in these formats.
    await new Promise((done) => setTimeout(done, 1100));
    const [again, packed, roots] = await Promise.all([
      built(await archive(), { format }),
      built(await archive(headers(), true), { format }),
      built(await archive(), { format, owners: 'root' }),
    ]);
    expect([again.volume, packed.volume]).toEqual([one.volume, one.volume]);
    expect((await readFile(again.file)).equals(await readFile(one.file))).toBe(true);
    expect(roots.volume.revision).not.toBe(one.volume.revision);
    if (process.getuid?.() !== 0) return;
    const folder = await temporaryFolder();
    await execa('tar', ['-xpf', await archive(), '--numeric-owner', '-C', folder]);
    expect((await built(folder, { format })).volume).toEqual(one.volume);
  });
});

describe('an archive', () => {
  it('that a command makes, as of a container, is packed as its folder would be', async () => {
    const made = await archive();
    const where = 'unideploy.yaml:9:5';
    const content = { kind: 'build', command: `cp ${made} $UNIDEPLOY_OUTPUT`, folder: '/', where } as const;
    expect((await built('', { content })).volume).toEqual((await built(made)).volume);
  });

  it('of hard links gives each name the bytes and the owner', async () => {
    const folder = await temporaryFolder();
    await writeFiles(folder, { 'a/one': 'same' });
    await link(join(folder, 'a/one'), join(folder, 'a/two'));
    await symlink('one', join(folder, 'a/three'));
    const file = join(await temporaryFolder(), 'links.tar');
    await execa('tar', ['-cf', file, '-C', folder, '.']);
    expect((await built(file, { owners: 'root' })).volume).toEqual(
      (await built(folder, { owners: 'root' })).volume,
    );
    const { stdout } = await execa('unsquashfs', ['-lln', (await built(file)).file]);
    expect(stdout.match(/ 4 .*\/a\/(one|two)$/gm)).toHaveLength(2);
  });

  it.each<[string, (Headers & { text?: string })[], RegExp]>([
    ['a name that leads out of it', [{ name: '../out', text: 'x' }], /leads out of it: \.\.\/out/],
    [
      'a file below a link',
      [
        { name: 'a', type: 'symlink', linkname: '/tmp' },
        { name: 'a/out', text: 'x' },
      ],
      /something below a, which is no folder/,
    ],
    [
      'a hard link to what it does not have',
      [{ name: 'a', type: 'link', linkname: '/etc/passwd' }],
      /hard link to etc\/passwd/,
    ],
    ['a device', [{ name: 'null', type: 'character-device' }], /holds null, a device/],
  ])('with %s is refused', async (_what, entries, message) => {
    await expect(built(await archive(entries))).rejects.toThrowError(message);
  });

  it('that ends too soon is refused', async () => {
    const whole = await readFile(await archive());
    const file = join(await temporaryFolder(), 'half.tar');
    await writeFile(file, whole.subarray(0, 1300));
    await expect(built(file)).rejects.toMatchObject({ code: 'UD_BUILD_FAILED' });
  });
});
