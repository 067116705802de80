import { mkdir, mkdtemp, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { execa } from 'execa';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { VERSION } from '../../src/version.ts';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));

let folder: string;
let npx: (args: string[]) => Promise<{ exitCode?: number | undefined; stdout: string }>;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'ud-pack-'));
  const options = { cwd: folder, env: { UNIDEPLOY_STATE: join(folder, 'state') }, reject: false } as const;
  npx = (args) => execa('npx', ['--no-install', 'unideploy', ...args], options);
});

afterAll(() => rm(folder, { recursive: true, force: true }));

describe('the package', () => {
  it('is packed with what it needs and nothing else', async () => {
    // The build that is there is what is packed: other tests run it at the same time.
    const pack = ['pack', '--ignore-scripts', '--json', '--pack-destination', folder];
    const { stdout } = await execa('npm', pack, { cwd: ROOT });
    const [{ filename, files }] = JSON.parse(stdout) as [{ filename: string; files: { path: string }[] }];
    const paths = files.map(({ path }) => path);
    expect(paths).toEqual(
      expect.arrayContaining([
        'README.md',
        'bin/unideploy',
        'dist/src/cli/main.js',
        'dist/src/proxy/embedded/process/main.js',
        'schema/unideploy.schema.json',
      ]),
    );
    expect(paths.filter((path) => /^(src|test|bench|strategies)\/|build\.out/.test(path))).toEqual([]);
    await rename(join(folder, filename), join(folder, 'app.tgz'));
  });

  it('is installed, and its command works', async () => {
    await writeFile(join(folder, 'package.json'), '{"private": true}\n');
    await execa('npm', ['install', './app.tgz', '--prefer-offline', '--no-audit', '--no-fund'], {
      cwd: folder,
    });
    expect((await npx(['--version'])).stdout).toBe(VERSION);
    const { exitCode, stdout } = await npx(['doctor', '--json']);
    const findings = JSON.parse(stdout) as { what: string; ok: boolean; needed: boolean }[];
    expect(findings.filter(({ ok, needed }) => needed && !ok)).toEqual([]);
    expect(exitCode).toBe(0);
    expect(findings.map(({ what }) => what)).toContain('accelerator tcg');
  });

  it('writes a first config, wherever it is run', async () => {
    await mkdir(join(folder, 'elsewhere'));
    const file = join(folder, 'elsewhere', 'unideploy.yaml');
    expect((await npx(['init', '--file', file])).exitCode).toBe(0);
    expect(await readFile(file, 'utf8')).toContain('service: elsewhere');
  });
});
