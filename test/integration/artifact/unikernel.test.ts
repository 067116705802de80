import { chmod, mkdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { execa } from 'execa';
import { describe, expect, it } from 'vitest';
import { listCpio } from '../../../src/artifact/cpio.ts';
import { temporaryFolder } from './folder.ts';

const BUILD = fileURLToPath(new URL('../../../examples/linux-unikernel/build', import.meta.url));
const MAIN = 'int main(void) { return 0; }\n';

async function compile(folder: string, source: string, ...options: string[]): Promise<void> {
  await execa('gcc', ['-x', 'c', '-', ...options], { cwd: folder, input: source });
}

async function build(folder: string, ...more: string[]) {
  return await execa(BUILD, ['app', 'app', 'initrd.img', ...more], { cwd: folder, reject: false });
}

/** What is in the initrd besides the machine's own, by its path. */
async function contents(folder: string) {
  const entries = await listCpio(join(folder, 'initrd.img'));
  return new Map(
    entries.filter(({ path }) => !path.startsWith('lib/modules')).map((each) => [each.path, each]),
  );
}

describe('an initrd for a program', () => {
  it('has nothing but a static one', async () => {
    const folder = await temporaryFolder();
    await compile(folder, MAIN, '-static', '-o', 'app');
    expect(await build(folder)).toMatchObject({ exitCode: 0 });
    expect([...(await contents(folder)).keys()]).toEqual(['.', 'app', 'init', 'lib']);
  });

  it('has the libraries of a dynamic one and their loader, and root owns all of it', async () => {
    const folder = await temporaryFolder();
    await compile(folder, MAIN, '-Wl,--no-as-needed', '-lm', '-o', 'app');
    expect(await build(folder)).toMatchObject({ exitCode: 0 });
    const found = await contents(folder);
    const paths = [...found.keys()].join(' ');
    for (const name of ['/libc.so.6', '/libm.so.6', 'ld-linux-x86-64.so.2']) expect(paths).toContain(name);
    expect([...found.values()].every(({ user, group }) => user === 0 && group === 0)).toBe(true);
  });

  it('has what else is to be in its root, and is the same file for the same content', async () => {
    const folder = await temporaryFolder();
    await mkdir(join(folder, 'root/etc'), { recursive: true });
    await writeFile(join(folder, 'root/etc/passwd'), 'root:x:0:0::/:\n');
    await symlink('passwd', join(folder, 'root/etc/users'));
    await writeFile(join(folder, 'app'), '#!/bin/sh\n');
    const bytes = async () => {
      await build(folder, 'root');
      return await readFile(join(folder, 'initrd.img'));
    };
    const first = await bytes();
    expect((await contents(folder)).get('etc/users')?.mode).toBe('lrwxrwxrwx');
    await rm(join(folder, 'initrd.img'));
    expect((await bytes()).equals(first)).toBe(true);
    await chmod(join(folder, 'root/etc/passwd'), 0o600);
    await bytes();
    expect((await contents(folder)).get('etc/passwd')?.mode).toBe('-rw-------');
  });

  it('is not made of a program whose library is not there, or over an /init of somebody', async () => {
    const folder = await temporaryFolder();
    await compile(folder, 'int gone;\n', '-shared', '-fPIC', '-o', 'libgone.so');
    await compile(folder, MAIN, '-L.', '-Wl,--no-as-needed', '-lgone', '-o', 'app');
    const { exitCode, stderr } = await build(folder);
    expect([exitCode, stderr]).toEqual([1, expect.stringContaining('app needs libgone.so')]);
    await compile(folder, MAIN, '-static', '-o', 'app');
    await mkdir(join(folder, 'root'));
    await writeFile(join(folder, 'root/init'), '');
    expect((await build(folder, 'root')).stderr).toContain('has an /init or an /app of its own');
    expect((await build(folder, 'nowhere')).stderr).toContain('no such folder: nowhere');
  });
});
