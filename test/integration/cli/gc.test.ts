import { describe, expect, it } from 'vitest';
import { servingStage } from './stage.ts';

describe('unideploy gc', () => {
  it('tells what would go and why the rest stays, removes it, and leaves what is pinned', async () => {
    const stage = await servingStage();
    for (const text of ['second', 'third', 'fourth']) {
      await stage.configure('rollout: {keep: 2}\n', text);
      const { outcome } = stage.start(['rollout', '--json']);
      stage.finish(await stage.begun(), 'succeeded');
      await outcome;
    }
    expect((await stage.cli(['pin', '1'])).stdout).toBe('revision 1 of site is pinned');

    const lately = await stage.cli(['gc', '--dry-run']);
    expect(lately.stdout).toMatch(/^would remove 0 artifacts \(0 kB\), 4 stay/);

    const dry = await stage.cli(['gc', '--dry-run', '--all', '--unused-for', '0s']);
    expect(dry.stdout).toMatch(/image +site 2 .* would go/);
    expect(dry.stdout).toMatch(/image +site 1 .* site 1: pinned by ana@ci/);
    expect(dry.stdout).toMatch(/image +site 3 .* site 3: stable/);
    expect(dry.stdout).toMatch(/image +site 4 .* site 4: served/);
    expect(dry.stdout).toMatch(/would remove 1 artifacts .* 3 stay/);

    const done = JSON.parse((await stage.cli(['gc', '--json', '--unused-for', '0s'])).stdout);
    expect(done).toMatchObject({ dryRun: false, removed: [{ of: { revision: 2 } }] });
    const back = await stage.cli(['rollback', '--to', '2']);
    expect(back.exitCode).toBe(4);
    expect(back.stderr).toContain('UD_ARTIFACT_MISSING');

    await stage.cli(['unpin', '1']);
    const next = JSON.parse((await stage.cli(['gc', '--json', '--unused-for', '0s'])).stdout);
    expect(next).toMatchObject({ removed: [{ of: { revision: 1 } }] });
  });

  it('says of a revision that there is none what there is', async () => {
    const stage = await servingStage();
    const { exitCode, stderr } = await stage.cli(['pin', '9']);
    expect([exitCode, stderr]).toEqual([
      2,
      expect.stringContaining('UD_UNKNOWN_REVISION: site has no revision 9'),
    ]);
  });
});
