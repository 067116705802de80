import { describe, expect, it } from 'vitest';
import { isAlive } from '../../support/cli/processes.ts';
import { until } from '../proxy/scene.ts';
import { resultOf, type Stage, servingStage } from './stage.ts';

const ABORTED = { code: 'UD_ABORTED', message: 'ana@ci aborted it', next: 'roll out again' } as const;

async function newRollout(stage: Stage, ...args: string[]) {
  await stage.configure('', 'second');
  const command = stage.start(['rollout', '--json', ...args]);
  const rollout = await stage.begun();
  await stage.followed();
  return { ...command, rollout };
}

describe.each([
  ['SIGINT', 130],
  ['SIGTERM', 143],
] as const)('%s to the command', (signal, exitCode) => {
  it(`aborts its rollout, follows it to the end, and is exit code ${exitCode}`, async () => {
    const stage = await servingStage();
    const { pid, outcome, rollout } = await newRollout(stage);
    process.kill(pid, signal);
    await stage.ordered(rollout, 'abort');
    stage.finish(rollout, 'aborted', ABORTED);
    const said = await outcome;
    expect(said.exitCode).toBe(exitCode);
    expect(resultOf(said)).toMatchObject({
      result: 'aborted',
      exitCode,
      rollout: rollout.id,
      revision: 1,
      error: ABORTED,
    });
  });

  it('leaves its rollout with --on-interrupt detach', async () => {
    const stage = await servingStage();
    const { pid, outcome, rollout } = await newRollout(stage, '--on-interrupt', 'detach');
    process.kill(pid, signal);
    const said = await outcome;
    expect(said.exitCode).toBe(exitCode);
    expect(resultOf(said)).toMatchObject({
      result: 'interrupted',
      exitCode,
      rollout: rollout.id,
      error: { code: 'UD_INTERRUPTED', next: 'see it: unideploy status --service site' },
    });
    expect(stage.store.rollout(rollout.id)?.state).toBe('open');
    expect(stage.store.journal(rollout.id, 0).map(({ event }) => event)).not.toContain('ordered');
  });

  it('during the build begins no rollout, and leaves nothing of the build running', async () => {
    const stage = await servingStage();
    const build = 'sleep 1000 & echo $! > sleeper; echo built by $!; wait';
    await stage.configure(`image: {build: "${build}"}\n`, 'second');
    const { pid, outcome } = stage.start(['rollout', '--json']);
    await until('the build runs', () => stage.read('sleeper').endsWith('\n'), 30_000);
    const sleeper = Number(stage.read('sleeper'));
    process.kill(pid, signal);
    const said = await outcome;
    expect(said.exitCode).toBe(exitCode);
    expect(resultOf(said)).toMatchObject({ result: 'interrupted', exitCode, rollout: null, service: 'site' });
    await until('the build has ended', () => !isAlive(sleeper));
    expect(stage.store.rollouts('site', 10)).toHaveLength(1);
  });

  it('while it waits its turn begins no rollout', async () => {
    const stage = await servingStage();
    const { rollout } = await newRollout(stage);
    const { pid, outcome } = stage.start(['restart', '--json', '--wait', '5m']);
    await stage.followed(2);
    process.kill(pid, signal);
    const said = await outcome;
    expect(said.exitCode).toBe(exitCode);
    expect(resultOf(said)).toMatchObject({ result: 'interrupted', rollout: null });
    stage.finish(rollout, 'succeeded');
  });
});

describe('signals', () => {
  it('a second one leaves the rollout to go back by itself', async () => {
    const stage = await servingStage();
    const { pid, outcome, rollout } = await newRollout(stage);
    process.kill(pid, 'SIGINT');
    await stage.ordered(rollout, 'abort');
    process.kill(pid, 'SIGTERM');
    const said = await outcome;
    expect(said.exitCode).toBe(130);
    expect(resultOf(said)).toMatchObject({
      result: 'interrupted',
      error: { message: `rollout ${rollout.id} of site goes back without this command` },
    });
    expect(stage.store.rollout(rollout.id)?.state).toBe('open');
  });

  it('SIGKILL leaves a rollout that goes on', async () => {
    const stage = await servingStage();
    const { pid, outcome, rollout } = await newRollout(stage);
    process.kill(pid, 'SIGKILL');
    await outcome;
    expect(stage.store.rollout(rollout.id)?.state).toBe('open');
    stage.finish(rollout, 'succeeded');
    expect((await stage.cli(['wait'])).exitCode).toBe(0);
  });

  it('to a command that only follows leaves the rollout as it is', async () => {
    const stage = await servingStage();
    const { rollout } = await newRollout(stage);
    const { pid, outcome } = stage.start(['wait', '--json']);
    await stage.followed(2);
    process.kill(pid, 'SIGINT');
    expect(resultOf(await outcome)).toMatchObject({ result: 'interrupted', exitCode: 130 });
    expect(stage.store.journal(rollout.id, 0).map(({ event }) => event)).not.toContain('ordered');
  });
});
