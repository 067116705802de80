import { randomBytes } from 'node:crypto';
import { chmod, readdir, readFile, stat, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { execa } from 'execa';
import { describe, expect, it } from 'vitest';
import { digestFile, digestText } from '../../../src/artifact/digest.ts';
import { ContentStore } from '../../../src/artifact/store.ts';
import { temporaryFolder, writeFiles } from '../../integration/artifact/folder.ts';

const TEXT = 'what is deployed';
const DIGEST = digestText(TEXT);

async function store(): Promise<{ folder: string; content: ContentStore }> {
  const folder = join(await temporaryFolder(), 'store');
  return { folder, content: await ContentStore.open(folder) };
}

describe('the content store', () => {
  it('takes a stream or a file and keeps it read-only under its digest', async () => {
    const { folder, content } = await store();
    expect(await content.has(DIGEST)).toBe(false);
    await content.put(Readable.from([Buffer.from('what is '), Buffer.from('deployed')]), DIGEST);
    expect(await content.has(DIGEST)).toBe(true);
    expect(await readFile(content.path(DIGEST), 'utf8')).toBe(TEXT);
    expect((await stat(content.path(DIGEST))).mode & 0o777).toBe(0o444);

    const file = join(folder, '../big');
    await writeFile(file, randomBytes(3_000_000));
    const digest = await digestFile(file);
    await content.put(file, digest);
    await content.verify(digest);
    expect((await readdir(folder)).sort()).toEqual([DIGEST, digest].sort());
  });

  it('keeps nothing of bytes with another digest', async () => {
    const { folder, content } = await store();
    const put = content.put(Readable.from([Buffer.from('something else')]), DIGEST);
    await expect(put).rejects.toMatchObject({ code: 'UD_ARTIFACT_CORRUPT' });
    expect(await readdir(folder)).toEqual([]);
  });

  it('reads a stream of bytes it has already to the end, so that the sender gets its answer', async () => {
    const { content } = await store();
    for (let i = 0; i < 2; i++) {
      const stream = Readable.from([Buffer.from('what is '), Buffer.from('deployed')]);
      await content.put(stream, DIGEST);
      expect([stream.readableEnded, stream.errored]).toEqual([true, null]);
    }
  });

  it('keeps nothing of a stream that breaks off', async () => {
    const { folder, content } = await store();
    const broken = Readable.from(
      (async function* () {
        yield Buffer.from('what is ');
        throw new Error('connection reset');
      })(),
    );
    await expect(content.put(broken, DIGEST)).rejects.toThrowError('connection reset');
    expect(await readdir(folder)).toEqual([]);
  });

  it('lets many put the same bytes at once', async () => {
    const { folder, content } = await store();
    await Promise.all(
      Array.from({ length: 8 }, () => content.put(Readable.from([Buffer.from(TEXT)]), DIGEST)),
    );
    await content.verify(DIGEST);
    expect(await readdir(folder)).toEqual([DIGEST]);
  });

  it('keeps the holes of a disk image', async () => {
    const { folder, content } = await store();
    const file = join(folder, '../disk.img');
    await writeFiles(join(folder, '..'), { 'disk.img': 'boot' });
    await truncate(file, 64 << 20);
    const digest = await digestFile(file);
    await content.put(file, digest);
    await content.verify(digest);
    const { size, blocks } = await stat(content.path(digest));
    expect(size).toBe(64 << 20);
    expect(blocks * 512).toBeLessThan(1 << 20);
  });

  it('finds bytes that have changed, sets them aside, and takes them anew', async () => {
    const { content } = await store();
    await content.put(Readable.from([Buffer.from(TEXT)]), DIGEST);
    await chmod(content.path(DIGEST), 0o644);
    await writeFile(content.path(DIGEST), 'what was deployed');
    await expect(content.verify(DIGEST)).rejects.toMatchObject({ code: 'UD_ARTIFACT_CORRUPT' });
    await expect(content.verify(DIGEST)).rejects.toMatchObject({ code: 'UD_FILE_NOT_FOUND' });
    await content.put(Readable.from([Buffer.from(TEXT)]), DIGEST);
    await content.verify(DIGEST);
  });

  it('removes what dead writers left, of its own process id too, and nothing of living ones', async () => {
    const { folder } = await store();
    const living = execa('sleep', ['60'], { reject: false });
    const name = (pid: unknown) => `.put-${pid}-00000000-a`;
    const left = [name(await pidOfDead()), name(process.pid), name(living.pid)];
    await writeFiles(folder, Object.fromEntries(left.map((file) => [file, 'half'])));
    await ContentStore.open(folder);
    expect(await readdir(folder)).toEqual([name(living.pid)]);
    living.kill();
    await living;
  });

  it('does not let a digest name another file', async () => {
    const { content } = await store();
    expect(() => content.path('../../etc/passwd')).toThrowError(/is no SHA-256 digest/);
    await expect(content.has(`${DIGEST}/..`)).rejects.toMatchObject({ code: 'UD_ARTIFACT_CORRUPT' });
  });
});

async function pidOfDead(): Promise<number> {
  const { stdout } = await execa('sh', ['-c', 'echo $$']);
  return Number(stdout);
}
