import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { withBuilt } from '../../../src/cli/build.ts';
import type { Context } from '../../../src/cli/context.ts';
import { Interruption } from '../../../src/cli/interruption.ts';
import { linesRenderer } from '../../../src/cli/render/lines.ts';
import { deployRequest } from '../../../src/daemon/messages.ts';
import { statePaths } from '../../../src/daemon/paths.ts';
import { temporaryFolder, writeFiles } from '../artifact/folder.ts';

async function build(yaml: string) {
  const folder = await temporaryFolder();
  await writeFiles(folder, { 'unideploy.yaml': `service: site\nlisten: 0\n${yaml}` });
  const lines: string[] = [];
  const context: Context = {
    paths: statePaths(join(folder, 'state')),
    elsewhere: null,
    json: false,
    file: join(folder, 'unideploy.yaml'),
    service: null,
    renderer: { ...linesRenderer(), build: (line) => lines.push(line) },
    performer: 'ana@ci',
  };
  const interruption = new Interruption();
  const built = withBuilt(context, interruption, { kind: 'rollout' }, async ({ request }) => request);
  const close = () => interruption.close();
  built.then(close, close);
  return { folder, lines, built };
}

const GUEST = 'guest: {profile: linux, kernel: kernel}\nimage: {build: "echo k > kernel"}\n';

describe('a pre-build hook', () => {
  it('runs before the build, and its words are shown with those of the build', async () => {
    const hook =
      'rollout: {hooks: {pre-build: "test ! -e kernel && echo $UNIDEPLOY_HOOK of $UNIDEPLOY_SERVICE by $UNIDEPLOY_PERFORMER"}}\n';
    const { built, lines } = await build(GUEST + hook);
    const request = await built;
    expect(lines).toEqual(['pre-build of site by ana@ci']);
    expect(deployRequest.parse(request)).toEqual(request);
  });

  it('that fails leaves everything as it is', async () => {
    const { built, folder } = await build(
      `${GUEST}rollout: {hooks: {pre-build: [echo lint, "echo not so; exit 2"]}}\n`,
    );
    await expect(built).rejects.toMatchObject({
      code: 'UD_HOOK_FAILED',
      message: expect.stringMatching(/^pre-build hook .* ended with 2: not so$/),
    });
    expect(existsSync(join(folder, 'kernel'))).toBe(false);
  });
});

describe('a strategy of the user', () => {
  it('is told to the controller by its absolute path, and has to be there', async () => {
    const strategy = 'rollout: {strategy: ./mine.mjs}\n';
    const { built, folder } = await build(
      `${GUEST.replace('> kernel', '> kernel; touch mine.mjs')}${strategy}`,
    );
    expect((await built).policy.strategy).toBe(join(folder, 'mine.mjs'));
    await expect((await build(GUEST + strategy)).built).rejects.toMatchObject({
      code: 'UD_FILE_NOT_FOUND',
      message: expect.stringContaining('unideploy.yaml:5:21: ./mine.mjs is no file: it does not exist'),
    });
  });
});
