import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { execa } from 'execa';
import { describe, expect, it } from 'vitest';
import { openStage, type Stage } from './stage.ts';

async function deploy(stage: Stage, image: string): Promise<void> {
  await stage.configure(`${image}\nrollout: {keep: 2}\n`);
  const { outcome } = stage.start(['rollout', '--json']);
  stage.finish(await stage.begun(), 'succeeded');
  await outcome;
}

const built = (text: string) =>
  `image: {build: "echo compiling; echo ${text} > kernel; echo API_TOKEN is $API_TOKEN", env: {LEVEL: 2, API_TOKEN: hush-hush}}`;

describe('unideploy image', () => {
  it('keeps what a build has said with its revision, and the images of revisions are looked into', async () => {
    const stage = await openStage();
    await deploy(stage, '');
    for (const text of ['v2', 'v3', 'v4']) await deploy(stage, built(text));

    const log = (await stage.cli(['image', 'log', '2'])).stdout;
    expect(log).toMatch(
      /^image: echo compiling; .*\n {2}LEVEL=2\n {2}API_TOKEN=\*\*\*\ncompiling\nAPI_TOKEN is \*\*\*\nkernel [0-9a-f]{64}$/,
    );
    expect((await stage.cli(['image', 'log'])).stdout).toContain('echo v4');
    expect((await stage.cli(['image', 'log', '1'])).stderr).toMatch(
      /UD_UNKNOWN_IMAGE: revision 1 was not built by a command/,
    );
    expect((await stage.cli(['image', 'log', '9'])).stderr).toContain('UD_UNKNOWN_REVISION');

    const listed = (await stage.cli(['image', 'ls'])).stdout;
    expect(listed).toMatch(/4\/kernel +[0-9a-f]{12} +\d+ kB +echo compiling.* site 4: served/);
    expect(listed).toMatch(/2\/kernel .* not needed/);
    expect((await stage.cli(['image', 'inspect', '3/kernel'])).stdout).toMatch(
      /^kernel {2}[0-9a-f]{64} {2}raw {2}1 kB\nbuilt by: echo compiling.*, with LEVEL, API_TOKEN$/,
    );

    const refused = await stage.cli(['image', 'rm', '4']);
    expect([refused.exitCode, refused.stderr]).toEqual([4, expect.stringContaining('stays: site 4: served')]);
    expect((await stage.cli(['image', 'rm', '2'])).stdout).toMatch(/^removed [0-9a-f]{12}$/);
    expect((await stage.cli(['image', 'ls'])).stdout).toMatch(/2\/kernel .* gone/);
    expect((await stage.cli(['image', 'inspect', '2'])).stderr).toContain('UD_ARTIFACT_MISSING');

    // A log goes with the revision that it is of, and is told of by its name.
    const collected = JSON.parse((await stage.cli(['gc', '--json', '--unused-for', '0s'])).stdout);
    const gone = collected.removed.map(
      ({ what, of }: { what: string; of: { revision: number } }) => `${what} of ${of.revision}`,
    );
    expect(gone.sort()).toEqual(['build log of 2', 'image of 1']);
    expect((await stage.cli(['image', 'log', '3'])).exitCode).toBe(0);
  });

  it('shows the end of a build that has failed, and where the whole is', async () => {
    const stage = await openStage();
    await stage.configure('image: {build: "for n in $(seq 100); do echo step $n; done; exit 3"}\n');
    const { exitCode, stderr } = await stage.cli(['rollout']);
    expect(exitCode).toBe(4);
    expect(stderr).toMatch(/UD_BUILD_FAILED: .* ended with exit code 3; its last lines: .*step 100/);
    const path = /read all it said in (\S+\.log);/.exec(stderr)?.[1] ?? '';
    expect(path).toContain(join(stage.paths.root, 'builds', 'site.'));
    expect(await readFile(path, 'utf8')).toContain('\nstep 1\n');
  });

  it('builds without a controller, and looks into what was built', async () => {
    const stage = await openStage();
    await stage.leave();
    await stage.configure(built('v1'));
    const { stdout } = await stage.cli(['image', 'build', '-o', 'out']);
    expect(stdout).toMatch(/kernel {2}[0-9a-f]{12} {2}1 kB {2}raw {2}out\/kernel\nlog {2}\S+$/);
    expect(await readdir(join(stage.project, 'out'))).toEqual(['kernel']);
    await writeFile(join(stage.project, 'hello'), 'hi');
    await execa('sh', ['-c', 'echo hello | cpio --quiet -o -H newc -R 7:8 > initrd'], { cwd: stage.project });
    const { stdout: inspected } = await stage.cli(['image', 'inspect', 'initrd']);
    expect(inspected).toMatch(/^initrd {2}[0-9a-f]{64} {2}cpio {2}1 kB\n-rw-r--r-- {2}7:8 {2}hello {2}\d+ /);
    await writeFile(
      join(stage.project, 'half'),
      (await readFile(join(stage.project, 'initrd'))).subarray(0, 80),
    );
    expect((await stage.cli(['image', 'inspect', 'half'])).stderr).toContain('is no cpio archive at byte 0');
  });
});
