import { existsSync, readFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { hookRunner } from '../../../src/hooks/run.ts';
import { end, isAlive } from '../../support/cli/processes.ts';
import { eventually } from '../../support/qemu/asking.ts';
import { temporaryFolder } from '../artifact/folder.ts';
import { commandHook, FACTS, withEnvironment } from './facts.ts';

const never = new AbortController().signal;

/** The process whose id a command writes into the file `child`, ended with the test. */
async function childIn(folder: string): Promise<number> {
  const file = join(folder, 'child');
  await eventually(
    'the command has started its child',
    () => existsSync(file) && readFileSync(file, 'utf8').endsWith('\n'),
  );
  const pid = Number(await readFile(file, 'utf8'));
  onTestFinished(() => end(pid, 'SIGKILL'));
  return pid;
}

describe('a command', () => {
  it('runs in the folder of the config and is told all that has happened', async () => {
    const folder = await temporaryFolder();
    await hookRunner().run(
      commandHook('pwd > where; env | grep ^UNIDEPLOY_ | sort > facts', folder),
      FACTS,
      never,
    );
    expect((await readFile(join(folder, 'where'), 'utf8')).trim()).toBe(folder);
    const facts = Object.fromEntries(
      (await readFile(join(folder, 'facts'), 'utf8'))
        .trim()
        .split('\n')
        .map((line) => line.split('=')),
    );
    expect(facts).toMatchObject({
      UNIDEPLOY_HOOK: 'pre-cutover',
      UNIDEPLOY_SERVICE: 'site',
      UNIDEPLOY_ROLLOUT: '7',
      UNIDEPLOY_FROM: '3',
      UNIDEPLOY_TO: '4',
      UNIDEPLOY_INSTANCES: 'site-7-1 site-7-2',
      UNIDEPLOY_PERFORMER: 'ana@ci',
      UNIDEPLOY_REASON: '',
    });
  });

  it('is shown line by line as it speaks', async () => {
    const lines: string[] = [];
    const runner = hookRunner((line) => lines.push(line));
    await runner.run(commandHook('echo one; echo two >&2', await temporaryFolder()), FACTS, never);
    expect(lines).toEqual(['one', 'two']);
  });

  it('that ends with another code than 0 fails with it and its last words', async () => {
    const folder = await temporaryFolder();
    const run = (command: string) => hookRunner().run(commandHook(command, folder), FACTS, never);
    await expect(run('echo a; echo "no route"; exit 3')).rejects.toMatchObject({
      code: 'UD_HOOK_FAILED',
      message: 'pre-cutover hook `echo a; echo "no route"; exit 3` ended with 3: a | no route',
      next: expect.stringContaining(folder),
    });
    await expect(run('exit 1')).rejects.toMatchObject({ message: 'pre-cutover hook `exit 1` ended with 1' });
    await expect(run('no-such-program')).rejects.toMatchObject({
      message: expect.stringContaining('ended with 127'),
    });
    await expect(run('kill -9 $$')).rejects.toMatchObject({
      message: expect.stringContaining('was ended by SIGKILL'),
    });
  });

  it('fails when its folder is gone', async () => {
    const run = hookRunner().run(commandHook('true', '/nowhere/at/all'), FACTS, never);
    await expect(run).rejects.toMatchObject({
      code: 'UD_HOOK_FAILED',
      message: expect.stringContaining('could not be run'),
    });
  });

  it('that is late is ended with all that it has started', async () => {
    const folder = await temporaryFolder();
    const hook = commandHook('echo waiting; sleep 600 & echo $! > child; wait', folder, 1500);
    const run = hookRunner().run(hook, FACTS, never);
    const refused = expect(run).rejects.toMatchObject({
      code: 'UD_DEADLINE',
      message: expect.stringMatching(
        /^pre-cutover hook `echo waiting; .*` did not end within 1.5s: waiting$/,
      ),
    });
    const child = await childIn(folder);
    await refused;
    await eventually('the child has ended', () => !isAlive(child));
  });

  it.each([
    ['does not listen to a polite request', 'trap "" TERM; sleep 600 & echo $! > child; wait; wait'],
    [
      'has children that listen to nobody',
      'sh -c \'trap "" TERM; echo $$ > child; exec sleep 600 > /dev/null 2>&1\' & wait',
    ],
  ])('is ended too when it %s', async (_, command) => {
    const folder = await temporaryFolder();
    const order = new AbortController();
    const run = hookRunner().run(commandHook(command, folder), FACTS, order.signal);
    const refused = expect(run).rejects.toThrow('enough');
    const child = await childIn(folder);
    order.abort(new Error('enough'));
    await refused;
    await eventually('the child has ended', () => !isAlive(child));
  });

  it('is not waited for when something it started has got away and holds its output', async () => {
    const folder = await temporaryFolder();
    const order = new AbortController();
    const run = hookRunner().run(
      commandHook("setsid sh -c 'echo $$ > child; exec sleep 600' & wait", folder),
      FACTS,
      order.signal,
    );
    const refused = expect(run).rejects.toThrow('enough');
    await childIn(folder);
    order.abort(new Error('enough'));
    await refused;
  });

  it('is not begun after the order to end', async () => {
    const folder = await temporaryFolder();
    const order = AbortSignal.abort(new Error('enough'));
    await expect(hookRunner().run(commandHook('touch begun', folder), FACTS, order)).rejects.toThrow(
      'enough',
    );
    expect(existsSync(join(folder, 'begun'))).toBe(false);
  });

  it('keeps its secrets out of what is shown and of the error', async () => {
    withEnvironment({
      UD_TEST_TOKEN: 'hunter22-abc',
      UD_TEST_KEY: 'line-one-of-it\nline-two-of-it',
      UD_TEST_PLAIN: 'visible',
    });
    const lines: string[] = [];
    const command = 'echo "$UD_TEST_PLAIN $UD_TEST_TOKEN"; echo "$UD_TEST_KEY"; exit 1';
    const run = hookRunner((line) => lines.push(line)).run(
      commandHook(command, await temporaryFolder()),
      FACTS,
      never,
    );
    await expect(run).rejects.toMatchObject({
      message: expect.stringMatching(/ended with 1: visible \*\*\* \| \*\*\* \| \*\*\*$/),
    });
    expect(lines).toEqual(['visible ***', '***', '***']);
  });
});
