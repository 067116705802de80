import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { openStage, type Stage } from './stage.ts';

async function deploy(stage: Stage, text: string): Promise<void> {
  await mkdir(join(stage.project, 'public'), { recursive: true });
  await writeFile(join(stage.project, 'public', 'index.html'), text);
  await stage.configure('volumes: [{source: public}]\nrollout: {keep: 2}\n');
  const { outcome } = stage.start(['rollout', '--json']);
  stage.finish(await stage.begun(), 'succeeded');
  await outcome;
}

describe('unideploy volume', () => {
  it('looks into the volumes of revisions, compares them, and removes those that nobody needs', async () => {
    const stage = await openStage();
    for (const text of ['v1', 'v2', 'v3']) await deploy(stage, text);

    const listed = (await stage.cli(['volume', 'ls'])).stdout;
    expect(listed).toMatch(/3\/code +squashfs +\d+ kB +[0-9a-f]{12} +tree-[0-9a-f]+ +site 3: served/);
    expect(listed).toMatch(/1\/code .* not needed/);

    expect((await stage.cli(['volume', 'inspect', '2'])).stdout).toMatch(
      /^[0-9a-f]{64} {2}squashfs .*tree-[0-9a-f]+\nindex.html {2}1 kB$/,
    );
    expect((await stage.cli(['volume', 'diff', '1', '3/code'])).stdout).toBe('~ index.html');

    const refused = await stage.cli(['volume', 'rm', '3']);
    expect([refused.exitCode, refused.stderr]).toEqual([4, expect.stringContaining('stays: site 3: served')]);
    expect((await stage.cli(['volume', 'rm', '1'])).stdout).toMatch(/^removed [0-9a-f]{12}$/);
    expect((await stage.cli(['volume', 'ls'])).stdout).toMatch(/1\/code .* gone/);
    expect((await stage.cli(['volume', 'inspect', '1'])).stderr).toContain('UD_ARTIFACT_MISSING');
  });

  it('builds files without a controller, which are looked into like any other', async () => {
    const stage = await openStage();
    await stage.leave();
    await mkdir(join(stage.project, 'public'));
    await writeFile(join(stage.project, 'public', 'index.html'), 'x');
    await stage.configure('volumes: [{source: public}]\n');
    const { stdout } = await stage.cli(['volume', 'build']);
    expect(stdout).toMatch(/^code.squashfs {2}[0-9a-f]{12} {2}\d+ kB {2}tree-/);
    const inspected = JSON.parse((await stage.cli(['volume', 'inspect', 'code.squashfs', '--json'])).stdout);
    expect(inspected).toMatchObject({ format: 'squashfs', contents: [{ path: 'index.html', size: 1 }] });
    expect((await stage.cli(['volume', 'diff', 'code.squashfs', 'code.squashfs'])).stdout).toBe('');
    const { exitCode, stderr } = await stage.cli(['volume', 'build', 'data']);
    expect([exitCode, stderr]).toEqual([2, expect.stringContaining('has no volume data; it has code')]);
  });
});
