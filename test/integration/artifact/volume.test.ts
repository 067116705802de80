import {
  chmod,
  chown,
  mkdir,
  readdir,
  readFile,
  symlink,
  truncate,
  utimes,
  writeFile,
} from 'node:fs/promises';
import { join } from 'node:path';
import { execa } from 'execa';
import { describe, expect, it, onTestFinished } from 'vitest';
import { treeId } from '../../../src/artifact/tree.ts';
import { unpackVolume } from '../../../src/artifact/unpack.ts';
import { buildVolume } from '../../../src/artifact/volume.ts';
import type { VolumeConfig } from '../../../src/config/config.ts';
import { ignoreLines, reference, temporaryFolder, writeFiles } from './folder.ts';

const FORMATS = ['squashfs', 'ext4', 'iso9660'] as const;
const PATHS = ['a/deep/er/file.txt', 'b c.txt', 'it"s "<12>".txt', 'index.html', `long-${'n'.repeat(200)}`];

function volume(content: VolumeConfig['content'], more: Partial<VolumeConfig> = {}): VolumeConfig {
  const where = 'unideploy.yaml:9:5';
  return {
    name: 'code',
    content,
    format: 'squashfs',
    owners: 'root',
    maxSize: null,
    probe: '/r',
    revision: null,
    where,
    ...more,
  };
}

const source = (folder: string): VolumeConfig['content'] => ({ kind: 'source', folder: reference(folder) });

async function site(order: readonly string[] = PATHS): Promise<string> {
  const folder = await temporaryFolder();
  for (const path of order) await writeFiles(folder, { [path]: `this is ${path}` });
  await writeFiles(folder, { 'run.sh': '#!/bin/sh\n' });
  await chmod(join(folder, 'run.sh'), 0o755);
  await symlink('a/deep/er/file.txt', join(folder, 'link'));
  await symlink('x'.repeat(100), join(folder, 'long link'));
  await mkdir(join(folder, 'empty'));
  await writeFile(join(folder, 'zeros'), Buffer.alloc(100_000));
  return folder;
}

/** The same content by other hands: another order, owner, umask, other times, a hole for the zeros. */
async function sameSite(): Promise<string> {
  const folder = await site([...PATHS].reverse());
  await truncate(join(folder, 'zeros'), 0);
  await truncate(join(folder, 'zeros'), 100_000);
  await writeFiles(folder, { '.unideploy/revision': 'of an earlier build' });
  for (const path of ['index.html', 'a', 'a/deep', 'empty']) {
    await utimes(join(folder, path), 1_234_567_890, 1_234_567_890);
    await chmod(join(folder, path), path === 'index.html' ? 0o640 : 0o700);
    if (process.getuid?.() === 0) await chown(join(folder, path), 1234, 1234);
  }
  await chmod(join(folder, 'run.sh'), 0o700);
  return folder;
}

describe.each(FORMATS)('a %s volume', (format) => {
  it('is the same file, byte for byte, for the same content', async () => {
    const one = await buildVolume(
      volume(source(await site()), { format }),
      await temporaryFolder(),
      ignoreLines,
    );
    // Times count in seconds in these formats.
    await new Promise((done) => setTimeout(done, 1100));
    const umask = process.umask(0o077);
    onTestFinished(() => void process.umask(umask));
    setVariable('SOURCE_DATE_EPOCH', '1000000000');
    setVariable('TZ', 'Asia/Tokyo');
    const two = await buildVolume(
      volume(source(await sameSite()), { format }),
      await temporaryFolder(),
      ignoreLines,
    );
    expect(two.volume).toEqual(one.volume);
    expect((await readFile(two.file)).equals(await readFile(one.file))).toBe(true);
  });

  it('holds what the folder holds, and says its revision', async () => {
    const folder = await site();
    const built = await buildVolume(volume(source(folder), { format }), await temporaryFolder(), ignoreLines);
    const unpacked = await unpack(format, built.file);
    expect(await treeId(unpacked)).toBe(await treeId(folder));
    expect(await readFile(join(unpacked, '.unideploy/revision'), 'utf8')).toBe(`${built.volume.revision}\n`);
    expect(built.volume).toMatchObject({ name: 'code', format, probe: '/r', revision: await treeId(folder) });
    expect(built.volume.size).toBe((await readFile(built.file)).length);
  });

  it('differs for other content', async () => {
    const [one, two] = [await site(), await site()];
    await writeFiles(two, { 'index.html': 'this is index.htmL' });
    const built = [];
    for (const folder of [one, two])
      built.push(await buildVolume(volume(source(folder), { format }), await temporaryFolder(), ignoreLines));
    expect(built[0]?.volume.digest).not.toBe(built[1]?.volume.digest);
    expect(built[0]?.volume.revision).not.toBe(built[1]?.volume.revision);
  });

  it('leaves only itself in the work folder', async () => {
    const work = await temporaryFolder();
    await buildVolume(volume(source(await site()), { format }), work, ignoreLines);
    expect(await readdir(work)).toEqual([`code.${format}`]);
  });

  it('can be empty', async () => {
    const built = await buildVolume(
      volume(source(await temporaryFolder()), { format }),
      await temporaryFolder(),
      ignoreLines,
    );
    expect(built.volume.size).toBeGreaterThan(0);
  });
});

describe('an ext4 volume', () => {
  it.each([
    ['many small files', 1000, 10],
    ['large files', 3, 50_000_000],
  ])('has room for %s, and is whole', async (_what, count, size) => {
    const folder = await temporaryFolder();
    for (let i = 0; i < count; i++)
      await writeFiles(folder, { [`files/number-${i}`]: Buffer.alloc(size, 1 + i) });
    const built = await buildVolume(
      volume(source(folder), { format: 'ext4' }),
      await temporaryFolder(),
      ignoreLines,
    );
    await execa('e2fsck', ['-fn', built.file], { env: SBIN });
    expect(built.volume.size).toBeLessThan(count * (Math.ceil(size / 4096) * 4096 + 512) * 1.02 + 1_000_000);
  });
});

describe('a built volume', () => {
  const build = (command: string, folder: string, more: Partial<VolumeConfig> = {}) =>
    volume({ kind: 'build', command, folder, where: 'unideploy.yaml:12:12' }, more);

  it('packs the folder that the command makes, and passes on what it prints', async () => {
    const lines: string[] = [];
    const folder = await temporaryFolder();
    await writeFiles(folder, { 'src.txt': 'hello' });
    const command = 'echo one; echo two >&2; mkdir "$UNIDEPLOY_OUTPUT" && cp src.txt "$UNIDEPLOY_OUTPUT"';
    const built = await buildVolume(build(command, folder), await temporaryFolder(), (line) =>
      lines.push(line),
    );
    expect(lines.sort()).toEqual(['one', 'two']);
    expect(built.volume.revision).toMatch(/^tree-/);
  });

  it('takes the file that the command makes as it is', async () => {
    const folder = await temporaryFolder();
    const config = build('printf app > "$UNIDEPLOY_OUTPUT"', folder, { format: 'raw', revision: 'r7' });
    const built = await buildVolume(config, await temporaryFolder(), ignoreLines);
    expect(await readFile(built.file, 'utf8')).toBe('app');
    expect(built.volume).toMatchObject({ format: 'raw', size: 3, revision: 'r7' });
  });

  it('fails with the last lines of the command', async () => {
    const config = build('for i in $(seq 30); do echo line $i; done; exit 3', await temporaryFolder());
    await expect(buildVolume(config, await temporaryFolder(), ignoreLines)).rejects.toMatchObject({
      code: 'UD_BUILD_FAILED',
      message: expect.stringMatching(
        /^the command at unideploy\.yaml:12:12 ended with exit code 3; its last lines: line 11 \| .*line 30$/,
      ),
    });
  });

  it('fails when the command makes nothing, or a folder where a file was promised', async () => {
    const folder = await temporaryFolder();
    const nothing = buildVolume(build('true', folder), await temporaryFolder(), ignoreLines);
    await expect(nothing).rejects.toThrowError(/made nothing at \$UNIDEPLOY_OUTPUT/);
    const config = build('mkdir "$UNIDEPLOY_OUTPUT"', folder, { format: 'raw' });
    await expect(buildVolume(config, await temporaryFolder(), ignoreLines)).rejects.toThrowError(
      /allows neither/,
    );
  });
});

describe('a ready-made volume', () => {
  it('is taken as it is, and is unverified without a revision', async () => {
    const work = await temporaryFolder();
    const { file } = await buildVolume(volume(source(await site())), work, ignoreLines);
    const taken = await buildVolume(volume({ kind: 'file', file: reference(file) }), work, ignoreLines);
    expect(taken).toMatchObject({ file, volume: { format: 'squashfs', revision: null } });
  });

  it('is refused when it is not what the config says', async () => {
    const work = await temporaryFolder();
    const { file } = await buildVolume(volume(source(await site())), work, ignoreLines);
    const config = volume({ kind: 'file', file: reference(file) }, { format: 'ext4' });
    await expect(buildVolume(config, work, ignoreLines)).rejects.toMatchObject({
      code: 'UD_BUILD_FAILED',
      message: expect.stringMatching(
        /unideploy\.yaml:9:5: volume "code" is said to be ext4, the file .* is squashfs/,
      ),
    });
  });
});

describe('what cannot be built', () => {
  it('is a folder that is not there, named by the line of the config', async () => {
    const missing = join(await temporaryFolder(), 'public');
    await expect(
      buildVolume(volume(source(missing)), await temporaryFolder(), ignoreLines),
    ).rejects.toMatchObject({
      code: 'UD_FILE_NOT_FOUND',
      message: expect.stringMatching(/^unideploy\.yaml:3:5: .*public is no folder: it does not exist$/),
    });
  });

  it('is a volume whose tool is missing, and the error names the package', async () => {
    const [folder, work] = [await site(), await temporaryFolder()];
    setVariable('PATH', work);
    const built = buildVolume(volume(source(folder), { format: 'iso9660' }), work, ignoreLines);
    await expect(built).rejects.toMatchObject({
      code: 'UD_TOOL_MISSING',
      next: expect.stringContaining('Debian package xorriso'),
    });
  });
});

const SBIN = { PATH: `${process.env.PATH}:/usr/sbin:/sbin` };

/** Sets a variable of the environment for the rest of the test. */
function setVariable(name: string, value: string): void {
  const before = process.env[name];
  process.env[name] = value;
  onTestFinished(() => {
    if (before === undefined) delete process.env[name];
    else process.env[name] = before;
  });
}

async function unpack(format: (typeof FORMATS)[number], file: string): Promise<string> {
  const into = join(await temporaryFolder(), 'unpacked');
  if (format === 'squashfs') await execa('unsquashfs', ['-d', into, file]);
  if (format === 'iso9660') await execa('xorriso', ['-osirrox', 'on', '-indev', file, '-extract', '/', into]);
  if (format === 'ext4') {
    await mkdir(into);
    await execa('debugfs', ['-R', `rdump / ${into}`, file], { env: SBIN });
    await execa('rmdir', [join(into, 'lost+found')]);
  }
  // ISO folders are read-only, which would keep an ordinary user from removing them.
  await execa('chmod', ['-R', 'u+w', into]);
  return into;
}

describe('what is left out of a volume', () => {
  it('is what .unideployignore says, as git reads it, and the file itself', async () => {
    const folder = await temporaryFolder();
    await writeFiles(folder, {
      '.unideployignore': '# not for guests\nnode_modules/\n*.log\n!keep.log\n/notes\n',
      ...{ 'index.html': 'x', 'a/debug.log': 'x', 'keep.log': 'x', notes: 'x', 'a/notes': 'x' },
      'node_modules/huge/index.js': 'x',
    });
    await execa('mkfifo', [join(folder, 'node_modules', 'pipe')]);
    const { file } = await buildVolume(volume(source(folder)), await temporaryFolder(), ignoreLines);
    const { stdout } = await execa('unsquashfs', ['-l', '-d', '', file]);
    const held = stdout.split('\n').filter((path) => path !== '' && !path.includes('.unideploy'));
    expect(held.sort()).toEqual(['/a', '/a/notes', '/index.html', '/keep.log']);
  });

  it('changes the identity when what is left in differs, and only then', async () => {
    const folder = await site();
    const revisionOf = async () =>
      (await buildVolume(volume(source(folder)), await temporaryFolder(), ignoreLines)).volume;
    const before = await revisionOf();
    await writeFiles(folder, { '.unideployignore': '*.tmp\n', 'x.tmp': 'x' });
    expect(await revisionOf()).toEqual(before);
  });
});

describe('a volume that is larger than it may be', () => {
  it('is refused with the sizes and what to do', async () => {
    const config = volume(source(await site()), { maxSize: 4000 });
    await expect(buildVolume(config, await temporaryFolder(), ignoreLines)).rejects.toMatchObject({
      code: 'UD_BUILD_FAILED',
      message: expect.stringMatching(/has \d+ bytes, and maxSize allows 4000/),
      next: expect.stringContaining('.unideployignore'),
    });
  });
});

describe('a fat volume', () => {
  const fat = { format: 'fat' } as const;
  const files = { 'index.html': 'hello', 'a/Deep file.txt': 'deep', 'a/b/long-name-of-a-file.json': '{}' };
  const build = async (folder: string) =>
    await buildVolume(volume(source(folder), fat), await temporaryFolder(), ignoreLines);

  it('is the same file, byte for byte, for the same content', async () => {
    const [one, two] = [await temporaryFolder(), await temporaryFolder()];
    await writeFiles(one, files);
    await writeFiles(two, Object.fromEntries(Object.entries(files).reverse()));
    const first = await build(one);
    // Times count in two seconds in this format.
    await new Promise((done) => setTimeout(done, 2100));
    setVariable('TZ', 'Asia/Tokyo');
    const second = await build(two);
    expect(second.volume).toEqual(first.volume);
    expect((await readFile(second.file)).equals(await readFile(first.file))).toBe(true);
  });

  it('has room for many small files and for large ones, and holds what the folder holds', async () => {
    const folder = await temporaryFolder();
    await writeFiles(folder, files);
    for (let i = 0; i < 500; i++) await writeFiles(folder, { [`many/number-${i}-of-them`]: `${i}` });
    for (let i = 0; i < 3; i++) await writeFiles(folder, { [`large-${i}`]: Buffer.alloc(20_000_000, i + 1) });
    const { file, volume: built } = await build(folder);
    const into = join(await temporaryFolder(), 'unpacked');
    await unpackVolume(file, 'fat', into);
    expect(await treeId(into)).toBe(built.revision);
    expect(await readFile(join(into, '.unideploy/revision'), 'utf8')).toBe(`${built.revision}\n`);
    expect(built.size).toBeLessThan(70_000_000);
  });

  it.each([
    ['a link', async (folder: string) => await symlink('a', join(folder, 'l')), /l is a symbolic link/],
    [
      'twins',
      async (folder: string) => await writeFiles(folder, { A: 'x', a: 'y' }),
      /only in upper and lower/,
    ],
    ['a colon', async (folder: string) => await writeFiles(folder, { 'a:b': 'x' }), /has a name that FAT/],
  ])('is refused for %s', async (_what, prepare, message) => {
    const folder = await temporaryFolder();
    await prepare(folder);
    await expect(build(folder)).rejects.toMatchObject({
      code: 'UD_BUILD_FAILED',
      message: expect.stringMatching(message),
    });
  });
});
