import { chmod, mkdir, rm, symlink, utimes } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { execa } from 'execa';
import { describe, expect, it } from 'vitest';
import { listTree, treeId } from '../../../src/artifact/tree.ts';
import { temporaryFolder, writeFiles } from '../../integration/artifact/folder.ts';

const SITE = { 'index.html': '<h1>hi</h1>', 'css/a.css': 'a{}', 'bin/run': '#!/bin/sh\n' };

async function site(): Promise<string> {
  const folder = await temporaryFolder();
  await writeFiles(folder, SITE);
  await symlink('css/a.css', join(folder, 'style'));
  return folder;
}

describe("a folder's identity", () => {
  it('is short, and the same in another place with other times and modes', async () => {
    const [one, two] = [await site(), await site()];
    await utimes(join(two, 'index.html'), 1, 1);
    await chmod(join(two, 'index.html'), 0o600);
    await chmod(join(two, 'css'), 0o700);
    expect(await treeId(one)).toMatch(/^tree-[0-9a-f]{24}$/);
    expect(await treeId(two)).toBe(await treeId(one));
  });

  it.each<[string, (folder: string) => Promise<unknown>]>([
    ['a byte', (folder) => writeFiles(folder, { 'css/a.css': 'b{}' })],
    ['a new file', (folder) => writeFiles(folder, { 'css/b.css': '' })],
    ['an empty folder', (folder) => mkdir(join(folder, 'empty'))],
    ['a missing file', (folder) => rm(join(folder, 'index.html'))],
    ['an executable bit', (folder) => chmod(join(folder, 'bin/run'), 0o755)],
    [
      "a link's target",
      async (folder) => {
        await rm(join(folder, 'style'));
        await symlink('css/b.css', join(folder, 'style'));
      },
    ],
    [
      'a file in the place of a link',
      async (folder) => {
        await rm(join(folder, 'style'));
        await writeFiles(folder, { style: 'a{}' });
      },
    ],
    ['a folder .unideploy below the top', (folder) => writeFiles(folder, { 'css/.unideploy/revision': 'x' })],
  ])('changes with %s', async (_what, change) => {
    const folder = await site();
    const before = await treeId(folder);
    await change(folder);
    expect(await treeId(folder)).not.toBe(before);
  });

  it('leaves out what unideploy writes itself', async () => {
    const folder = await site();
    const before = await treeId(folder);
    await writeFiles(folder, { '.unideploy/revision': 'tree-of-another-time' });
    expect(await treeId(folder)).toBe(before);
  });
});

describe('the list of a folder', () => {
  it('is sorted, parents first', async () => {
    expect((await listTree(await site())).map(({ kind, path }) => `${kind} ${path}`)).toEqual([
      'folder bin',
      'file bin/run',
      'folder css',
      'file css/a.css',
      'file index.html',
      'link style',
    ]);
  });

  it('refuses a socket by its name', async () => {
    const folder = await site();
    const server = createServer().listen(join(folder, 'app.sock'));
    await new Promise((done) => server.once('listening', done));
    await expect(listTree(folder)).rejects.toMatchObject({
      code: 'UD_BUILD_FAILED',
      message: expect.stringMatching(/app\.sock is a socket/),
    });
    await new Promise((done) => server.close(done));
  });

  it('refuses a named pipe, instead of waiting for a writer', async () => {
    const folder = await site();
    await execa('mkfifo', [join(folder, 'css/pipe')]);
    await expect(listTree(folder)).rejects.toThrowError(/css\/pipe is a named pipe/);
  });

  it('refuses names that tools would take apart', async () => {
    const folder = await site();
    await writeFiles(folder, { 'a\nb': '' });
    await expect(listTree(folder)).rejects.toThrowError(/has a name in it with a control character: "a\\nb"/);
    await rm(join(folder, 'a\nb'));
    await writeFiles(folder, { c: '' });
    await execa('sh', ['-c', 'mv c "$(printf \'caf\\351\')"'], { cwd: folder });
    await expect(listTree(folder)).rejects.toThrowError(/that is not UTF-8/);
  });
});
