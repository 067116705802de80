import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { execa } from 'execa';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { takeDown } from '../support/cli/take-down.ts';
import { underLoad } from '../support/cli/under-load.ts';
import { openWorkplace, serving, type Workplace } from '../support/cli/workplace.ts';

const EXAMPLES = fileURLToPath(new URL('../../examples/', import.meta.url));

let place: Workplace;

beforeAll(async () => {
  place = await openWorkplace();
});

afterAll(() => takeDown(place));

describe('a program of anybody becomes a unikernel', () => {
  it('where it is static', async () => {
    await build('1.0', ['-static']);
    expect(await place.cli(['up'])).toMatchObject({ exitCode: 0, stderr: '' });
    expect(await greeting()).toContain('1.0');
  });

  it('where it has libraries, of the system and beside itself, and the new one takes over under load', async () => {
    // Without it the program would not even start.
    await execa('gcc', ['-shared', '-fPIC', '-o', 'libbeside.so', '-x', 'c', '-'], {
      cwd: place.project,
      input: 'int beside = 1;\n',
    });
    await build('2.0', ['-L.', '-Wl,--no-as-needed', '-lbeside', '-lm', '-Wl,-rpath,$ORIGIN']);
    const [outcome] = await underLoad(place, () => place.cli(['rollout']));
    expect(outcome).toMatchObject({ exitCode: 0, stderr: '' });
    expect(serving(await place.status())).toEqual(['site-2-1 2 verified', 'site-2-2 2 verified']);
    expect(await greeting()).toContain('2.0');
  });

  it('which can be looked into, with the log of how it was built', async () => {
    const { stdout } = await place.cli(['image', 'inspect', '2/initrd']);
    expect(stdout).toMatch(/^initrd {2}[0-9a-f]{64} {2}cpio /);
    expect(stdout).toContain('libbeside.so');
    expect(stdout).toContain('ld-linux-x86-64.so.2');
    const log = (await place.cli(['image', 'log', '2'])).stdout;
    expect(log).toMatch(/^image: gcc .*\n {2}VERSION=2.0\n/);
    expect(log).toMatch(/\nkernel [0-9a-f]{64}\ninitrd [0-9a-f]{64}$/);
  });
});

async function build(version: string, options: string[]): Promise<void> {
  const source = join(EXAMPLES, 'compiled-app/src/main.c');
  const compile = `gcc -D_GNU_SOURCE -DVERSION="\\"$VERSION\\"" -o app ${source} ${options.map((o) => `'${o}'`).join(' ')}`;
  await place.configure({
    image: {
      build: `${compile} && ${join(EXAMPLES, 'linux-unikernel/build')} app ./app initrd.img`,
      env: { VERSION: version },
    },
    guest: { initrd: 'initrd.img' },
    volumes: [],
  });
}

async function greeting(): Promise<string> {
  const { listen } = await place.status();
  return await (await fetch(`http://${listen?.host}:${listen?.port}/`)).text();
}
