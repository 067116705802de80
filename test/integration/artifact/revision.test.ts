import { join } from 'node:path';
import { execa } from 'execa';
import { describe, expect, it } from 'vitest';
import { digestFile, digestText } from '../../../src/artifact/digest.ts';
import { buildRevision } from '../../../src/artifact/revision.ts';
import { parseConfig } from '../../../src/config/load.ts';
import { ignoreLines, temporaryFolder, writeFiles } from './folder.ts';

const HEAD = 'service: a\nlisten: 1\n';

async function build(folder: string, yaml: string, onLine: (line: string) => void = ignoreLines) {
  const config = parseConfig(join(folder, 'unideploy.yaml'), `${HEAD}${yaml}`);
  return buildRevision(config, await temporaryFolder(), onLine);
}

describe('a revision', () => {
  it('names kernel, initrd and volumes by their bytes and says where these are', async () => {
    const folder = await temporaryFolder();
    await writeFiles(folder, { kernel: 'k', initrd: 'i', 'public/index.html': 'hi' });
    const yaml =
      'guest: {profile: linux, kernel: kernel, initrd: initrd}\nvolumes: [{source: public}]\nport: 81\n';
    const { spec, files } = await build(folder, yaml);
    expect(spec.image).toEqual({ kind: 'kernel', kernel: digestText('k'), initrd: digestText('i') });
    expect(spec.volumes).toHaveLength(1);
    expect(spec.checks).toEqual({ port: 81, healthPath: '/health', revisionPath: '/.unideploy/revision' });
    expect(files.size).toBe(3);
    for (const [digest, path] of files) expect(await digestFile(path)).toBe(digest);
    expect((await build(folder, yaml)).spec).toEqual(spec);
  });

  it('runs the build of the image first, in the folder of the config', async () => {
    const folder = await temporaryFolder();
    const lines: string[] = [];
    const yaml = `guest: {profile: linux, kernel: out/k}
image: {build: 'mkdir out && printf "$WORD" > out/k && echo built', env: {WORD: kernel}}
volumes: [{build: 'cp -r out "$UNIDEPLOY_OUTPUT"'}]
`;
    const { spec } = await build(folder, yaml, (line) => lines.push(line));
    expect(spec.image).toEqual({ kind: 'kernel', kernel: digestText('kernel'), initrd: null });
    expect(lines).toEqual(['built']);
  });

  it('fails at the line of the config when the build fails or makes no kernel', async () => {
    const folder = await temporaryFolder();
    const guest = 'guest: {profile: linux, kernel: out/k}\n';
    await expect(build(folder, `${guest}image:\n  build: "echo no rule; exit 2"\n`)).rejects.toMatchObject({
      code: 'UD_BUILD_FAILED',
      message: expect.stringMatching(/unideploy\.yaml:5:10 ended with exit code 2; its last lines: no rule$/),
    });
    await expect(build(folder, `${guest}image:\n  build: "true"\n`)).rejects.toMatchObject({
      code: 'UD_FILE_NOT_FOUND',
      message: expect.stringMatching(/unideploy\.yaml:3:33: out\/k is no file: it does not exist$/),
    });
  });
});

describe('a disk image', () => {
  it('is taken as qcow2 or raw', async () => {
    const folder = await temporaryFolder();
    await execa('qemu-img', ['create', '-f', 'qcow2', 'a.qcow2', '1M'], { cwd: folder });
    await writeFiles(folder, { 'b.img': 'raw' });
    const qcow2 = await build(folder, 'guest: {profile: nanos, disk: a.qcow2}\n');
    expect(qcow2.spec.image).toEqual({
      kind: 'disk',
      disk: await digestFile(join(folder, 'a.qcow2')),
      format: 'qcow2',
    });
    const raw = await build(folder, 'guest: {profile: nanos, disk: b.img}\n');
    expect(raw.spec.image).toMatchObject({ disk: digestText('raw'), format: 'raw' });
  });

  it.each([
    ['backing file', ['-b', 'base.img', '-F', 'raw']],
    ['data file', ['-o', 'data_file=outside.img,data_file_raw=on']],
  ])('is refused with a %s, which its digest would not name', async (what, options) => {
    const folder = await temporaryFolder();
    await writeFiles(folder, { 'base.img': Buffer.alloc(1 << 20) });
    await execa('qemu-img', ['create', '-f', 'qcow2', ...options, 'a.qcow2', '1M'], { cwd: folder });
    await expect(build(folder, 'guest: {profile: nanos, disk: a.qcow2}\n')).rejects.toMatchObject({
      code: 'UD_BUILD_FAILED',
      message: expect.stringContaining(`unideploy.yaml:3:31: a.qcow2 has a ${what}`),
    });
  });

  it('is refused when it is not in the format that the config says', async () => {
    const folder = await temporaryFolder();
    await execa('qemu-img', ['create', '-f', 'qcow2', 'a.img', '1M'], { cwd: folder });
    await writeFiles(folder, { 'b.qcow2': 'raw' });
    await expect(build(folder, 'guest: {profile: nanos, disk: a.img}\n')).rejects.toThrowError(
      /said to be raw and is qcow2/,
    );
    await expect(build(folder, 'guest: {profile: nanos, disk: b.qcow2}\n')).rejects.toThrowError(
      /is not qcow2/,
    );
  });
});
