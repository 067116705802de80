import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import type { ErrorReport } from '../../../src/errors.ts';
import { openStage, resultOf, type Said, type Stage, servingStage } from './stage.ts';

const UNHEALTHY: ErrorReport = {
  code: 'UD_GUEST_UNHEALTHY',
  message: 'site-2-1 was not ready within 60 s',
  next: 'read its console: unideploy logs site-2-1',
};

/** The verdict in all four places where a machine may look for it. */
async function expectAgreement(stage: Stage, said: Said, rollout: number, verdict: string, exitCode: number) {
  expect(said.exitCode).toBe(exitCode);
  expect(resultOf(said)).toMatchObject({ result: verdict, exitCode, service: 'site', rollout });
  expect(stage.store.journal(rollout, 0).at(-1)).toMatchObject({ event: 'rollout-finished', verdict });
  const history = JSON.parse((await stage.cli(['history', '--json'])).stdout);
  expect(history.rollouts[0]).toMatchObject({ id: rollout, state: verdict });
}

async function newRollout(stage: Stage, ...args: string[]) {
  await stage.configure('', 'second');
  const command = stage.start(['rollout', '--json', ...args]);
  return { ...command, rollout: await stage.begun() };
}

describe('the verdict of a rollout', () => {
  it.each([
    ['succeeded', 0, null, 2],
    ['rolled-back', 3, UNHEALTHY, 1],
    ['aborted', 3, { ...UNHEALTHY, code: 'UD_ABORTED' }, 1],
    ['failed', 4, UNHEALTHY, 1],
    ['superseded', 4, { ...UNHEALTHY, code: 'UD_SUPERSEDED' }, 1],
  ] as const)(
    '%s is exit code %i, and the last line of JSON, journal and history agree',
    async (verdict, exitCode, reason, revision) => {
      const stage = await servingStage();
      const { outcome, rollout } = await newRollout(stage);
      stage.finish(rollout, verdict, reason);
      const said = await outcome;
      await expectAgreement(stage, said, rollout.id, verdict, exitCode);
      expect(resultOf(said)).toEqual({
        result: verdict,
        exitCode,
        service: 'site',
        rollout: rollout.id,
        revision,
        ms: expect.any(Number),
        error: reason,
      });
    },
  );

  it('is waited for although the controller goes away in between', async () => {
    const stage = await servingStage();
    const { outcome, rollout } = await newRollout(stage);
    stage.tell(rollout, { event: 'waiting', reason: 'site-2-1' });
    await stage.leave();
    await stage.comeBack();
    stage.finish(rollout, 'succeeded');
    const said = await outcome;
    await expectAgreement(stage, said, rollout.id, 'succeeded', 0);
    const told = said.stdout.split('\n').filter((line) => line.includes('"rollout-started"'));
    expect(told).toHaveLength(1);
  });
});

describe('a command that begins no rollout', () => {
  it('is refused with 5 while another rollout is under way, and says whose', async () => {
    const stage = await servingStage();
    const { outcome, rollout } = await newRollout(stage);
    const refused = await stage.cli(['rollout', '--json'], { UNIDEPLOY_PERFORMER: 'bob@ci' });
    expect(refused.exitCode).toBe(5);
    expect(resultOf(refused)).toMatchObject({
      result: 'refused',
      exitCode: 5,
      service: 'site',
      rollout: null,
      error: { code: 'UD_LOCKED', message: expect.stringContaining('ana@ci') },
    });
    stage.finish(rollout, 'succeeded');
    await outcome;
  });

  it('waits its turn with --wait, and is refused when that is over', async () => {
    const stage = await servingStage();
    const { outcome, rollout } = await newRollout(stage);
    const impatient = await stage.cli(['restart', '--json', '--wait', '100ms']);
    expect(impatient).toMatchObject({ exitCode: 5, stdout: expect.stringContaining('UD_LOCKED') });
    const patient = stage.start(['restart', '--json', '--wait', '5m']);
    expect(impatient.stdout).toContain(`waiting for rollout ${rollout.id} of site, started by ana@ci`);
    await stage.followed(2);
    stage.finish(rollout, 'succeeded');
    await outcome;
    const restart = await stage.begun();
    expect(restart).toMatchObject({ kind: 'restart', performer: 'ana@ci' });
    stage.finish(restart, 'succeeded');
    await expectAgreement(stage, await patient.outcome, restart.id, 'succeeded', 0);
  });

  it('is refused with 5 when somebody has deployed since the revision it expects', async () => {
    const stage = await servingStage();
    await stage.configure('', 'second');
    for (const expected of ['0', '7']) {
      const refused = await stage.cli(['rollout', '--json', '--expect-revision', expected]);
      expect(refused.exitCode).toBe(5);
      expect(resultOf(refused)).toMatchObject({ result: 'refused', error: { code: 'UD_REVISION_CHANGED' } });
    }
    const accepted = stage.start(['rollout', '--json', '--expect-revision', '1']);
    stage.finish(await stage.begun(), 'succeeded');
    expect((await accepted.outcome).exitCode).toBe(0);
  });

  it('says 2 when the config is wrong, and the service as far as it knows', async () => {
    const stage = await openStage();
    const missing = await stage.cli(['rollout', '--json']);
    expect(missing.exitCode).toBe(2);
    expect(resultOf(missing)).toMatchObject({
      result: 'refused',
      service: null,
      error: { code: 'UD_CONFIG_NOT_FOUND' },
    });
    await stage.configure('image: {build: "echo no such luck; exit 1"}\n');
    const broken = await stage.cli(['rollout', '--json']);
    expect(broken.exitCode).toBe(4);
    expect(resultOf(broken)).toMatchObject({
      result: 'refused',
      service: 'site',
      error: { code: 'UD_BUILD_FAILED' },
    });
  });

  it('says 8 when a plan with --exit-code finds something to do', async () => {
    const stage = await servingStage();
    await stage.configure('', 'second');
    expect((await stage.cli(['plan'])).exitCode).toBe(0);
    expect((await stage.cli(['plan', '--exit-code'])).exitCode).toBe(8);
  });
});

describe('a rollout that needs a person', () => {
  it('ends the command with 6 at its gate, and promote follows it from there', async () => {
    const stage = await servingStage();
    const { outcome, rollout } = await newRollout(stage);
    stage.reach(rollout, 'promotion', null);
    const said = await outcome;
    expect(said.exitCode).toBe(6);
    expect(resultOf(said)).toMatchObject({
      result: 'paused',
      rollout: rollout.id,
      revision: 1,
      error: {
        code: 'UD_PAUSED',
        message: `rollout ${rollout.id} of site is waiting at gate promotion for unideploy promote`,
        next: expect.stringContaining('unideploy promote --service site'),
      },
    });
    const { stdout } = await stage.cli(['status']);
    expect(stdout).toContain('waiting at gate promotion for unideploy promote');

    const promote = stage.start(['promote', '--json']);
    await stage.ordered(rollout, 'promote');
    stage.tell(rollout, { event: 'gate-passed', gate: 'promotion', by: 'ana@ci', ms: 10 });
    stage.finish(rollout, 'succeeded');
    await expectAgreement(stage, await promote.outcome, rollout.id, 'succeeded', 0);
  });

  it('is promoted no further than to its next gate', async () => {
    const stage = await servingStage();
    const { rollout } = await newRollout(stage);
    stage.reach(rollout, 'weight 10', null);
    const promote = stage.start(['promote', '--json']);
    await stage.ordered(rollout, 'promote');
    stage.tell(rollout, { event: 'gate-passed', gate: 'weight 10', by: 'ana@ci', ms: 10 });
    stage.reach(rollout, 'weight 50', null);
    const said = await promote.outcome;
    expect(said.exitCode).toBe(6);
    expect(resultOf(said).error?.message).toContain('at gate weight 50');
    stage.finish(rollout, 'succeeded');
  });

  it('is not promoted while it waits for nobody', async () => {
    const stage = await servingStage();
    const { outcome, rollout } = await newRollout(stage);
    const refused = await stage.cli(['promote', '--json']);
    expect(refused.exitCode).toBe(4);
    expect(resultOf(refused)).toMatchObject({ result: 'refused', error: { code: 'UD_PROMOTE_REFUSED' } });
    stage.finish(rollout, 'succeeded');
    expect((await outcome).exitCode).toBe(0);
  });

  it('is followed past a gate that opens by itself, and with --on-gate wait past every other', async () => {
    const stage = await servingStage();
    const { outcome, rollout } = await newRollout(stage, '--on-gate', 'wait');
    stage.reach(rollout, 'bake', 1000);
    stage.tell(rollout, { event: 'gate-passed', gate: 'bake', by: null, ms: 1000 });
    stage.reach(rollout, 'promotion', null);
    stage.tell(rollout, { event: 'gate-passed', gate: 'promotion', by: 'bob', ms: 10 });
    stage.finish(rollout, 'succeeded');
    expect((await outcome).exitCode).toBe(0);
  });

  it('that somebody pauses ends the command with 6; resume follows it to its end', async () => {
    const stage = await servingStage();
    const { outcome, rollout } = await newRollout(stage);
    const pause = await stage.cli(['pause', '--json'], { UNIDEPLOY_PERFORMER: 'bob' });
    expect(pause.exitCode).toBe(0);
    expect(resultOf(pause)).toMatchObject({ result: 'paused', rollout: rollout.id, error: null });
    const said = await outcome;
    expect(said.exitCode).toBe(6);
    expect(resultOf(said)).toMatchObject({
      result: 'paused',
      error: { message: expect.stringContaining('paused by bob'), next: expect.stringContaining('resume') },
    });
    stage.store.updateRollout({ ...rollout, paused: { by: 'bob', at: Date.now() } });
    const resume = stage.start(['resume', '--json']);
    await stage.eventually(() => stage.store.journal(rollout.id, 0).some(({ event }) => event === 'resumed'));
    stage.finish(rollout, 'succeeded');
    const resumed = await resume.outcome;
    await expectAgreement(stage, resumed, rollout.id, 'succeeded', 0);
    // what was told before is not told again
    expect(resumed.stdout).not.toContain('"paused"');
  });

  it('is resumed into the gate that it stood at: 6 again, with the next step', async () => {
    const stage = await servingStage();
    const { rollout } = await newRollout(stage);
    stage.reach(rollout, 'promotion', null);
    stage.tell(rollout, { event: 'paused', by: 'bob' });
    stage.store.updateRollout({
      ...rollout,
      gates: { promotion: { reachedAt: 1, passedAt: null, stuck: null } },
      paused: { by: 'bob', at: 1 },
    });
    const said = await stage.cli(['resume', '--json']);
    expect(said.exitCode).toBe(6);
    expect(resultOf(said).error?.next).toContain('unideploy promote');
    stage.finish(rollout, 'succeeded');
  });
});

describe('time', () => {
  it('ends the command with 7 after --timeout; the rollout goes on, and wait tells how it ended', async () => {
    const stage = await servingStage();
    const { outcome, rollout } = await newRollout(stage, '--timeout', '200ms');
    const said = await outcome;
    expect(said.exitCode).toBe(7);
    expect(resultOf(said)).toMatchObject({
      result: 'timed-out',
      rollout: rollout.id,
      revision: 1,
      error: { code: 'UD_TIMED_OUT', next: `follow it: unideploy wait ${rollout.id} --service site` },
    });
    expect(stage.store.rollout(rollout.id)?.state).toBe('open');
    const wait = stage.start(['wait', '--json']);
    stage.finish(rollout, 'rolled-back', UNHEALTHY);
    await expectAgreement(stage, await wait.outcome, rollout.id, 'rolled-back', 3);
    // and again, of one that has ended long since
    await expectAgreement(
      stage,
      await stage.cli(['wait', '--json', `${rollout.id}`]),
      rollout.id,
      'rolled-back',
      3,
    );
    expect((await stage.cli(['wait', '99'])).exitCode).toBe(2);
  });
});

describe('abort', () => {
  it('changes nothing when nothing is under way', async () => {
    const stage = await servingStage();
    const said = await stage.cli(['abort', '--json']);
    expect(said).toMatchObject({ exitCode: 0, stdout: expect.stringContaining('nothing was changed') });
    expect(resultOf(said)).toMatchObject({ result: 'unchanged', rollout: null, revision: 1, error: null });
    for (const verb of ['promote', 'pause', 'resume']) {
      const refused = await stage.cli([verb, '--json']);
      expect(refused.exitCode).toBe(2);
      expect(resultOf(refused)).toMatchObject({ result: 'refused', error: { code: 'UD_NOTHING_OPEN' } });
    }
  });

  it('is 0 when the rollout went back, and 4 when it could not; the one who followed it hears 3', async () => {
    const stage = await servingStage();
    const first = await newRollout(stage);
    const abort = stage.start(['abort', '--json']);
    await stage.ordered(first.rollout, 'abort');
    stage.finish(first.rollout, 'aborted', { ...UNHEALTHY, code: 'UD_ABORTED' });
    await expectAgreement(stage, await abort.outcome, first.rollout.id, 'aborted', 0);
    expect(resultOf(await abort.outcome).error).toBeNull();
    expect((await first.outcome).exitCode).toBe(3);

    const second = await newRollout(stage);
    const again = stage.start(['abort', '--json']);
    await stage.ordered(second.rollout, 'abort');
    stage.finish(second.rollout, 'failed', UNHEALTHY);
    await expectAgreement(stage, await again.outcome, second.rollout.id, 'failed', 4);
  });
});

describe('in a step of GitHub Actions', () => {
  const env = { GITHUB_ACTIONS: 'true' };

  it('the build is a group, the failure an annotation, and the job has a summary', async () => {
    const stage = await servingStage();
    await stage.configure('image: {build: "echo compiling"}\n', 'second');
    const summary = join(stage.project, 'summary.md');
    const command = stage.start(['rollout'], { ...env, GITHUB_STEP_SUMMARY: summary });
    stage.finish(await stage.begun(), 'rolled-back', UNHEALTHY);
    const { exitCode, stdout, stderr } = await command.outcome;
    expect({ exitCode, stderr }).toEqual({ exitCode: 3, stderr: '' });
    expect(stdout).toMatch(
      /^::group::Build\n::stop-commands::\S+\n\S+ build \| compiling\n::\S+::\n::endgroup::\n/,
    );
    expect(stdout).toMatch(/\n::error title=UD_GUEST_UNHEALTHY::rolled back, site serves revision 1 again/);
    expect(stage.read('summary.md')).toContain('| Revisions | 1 → 2 |');
  });
});

describe('audit', () => {
  it('tells who did what, and when', async () => {
    const stage = await servingStage();
    await stage.cli(['pause']);
    const { stdout, exitCode } = await stage.cli(['audit']);
    expect(exitCode).toBe(0);
    expect(stdout).toMatch(/ana@ci +rollout 1 of site: nothing → revision 1 on 2/);
    expect(stdout).toMatch(/– +succeeded after/);
    const lines = (await stage.cli(['audit', '--json'])).stdout.split('\n').map((line) => JSON.parse(line));
    expect(lines.map(({ event }) => event)).toEqual(['rollout-started', 'rollout-finished']);
  });
});
