import { mkdtemp, readFile, realpath, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { measures } from '../../../src/measure/index.ts';

const SUBJECT = { service: 'shop', rollout: 3, revision: 2, stable: 1 };
const NEVER = new AbortController().signal;

let folder: string;
beforeAll(async () => {
  folder = await realpath(await mkdtemp(join(tmpdir(), 'ud-command-')));
});
afterAll(async () => await rm(folder, { recursive: true }));

async function measure(
  command: string,
  options: { timeout?: number; signal?: AbortSignal; stable?: null } = {},
) {
  const { timeout = 10_000, signal = NEVER, ...subject } = options;
  const dataPlane = { figures: () => Promise.reject(new Error('no data plane')) };
  const source = { kind: 'command', command, folder, timeout } as const;
  const gauge = await measures({ dataPlane }).open(source, { ...SUBJECT, ...subject });
  return await gauge.measure(signal);
}

describe('a command', () => {
  it.each([
    ['true', { verdict: 'success', value: null, said: 'ended with exit code 0' }],
    ['echo checked; echo 0.25', { verdict: 'success', value: 0.25, said: '0.25, ended with exit code 0' }],
    ['echo -1.5e3', { verdict: 'success', value: -1500 }],
    [
      'echo 3; echo all is well',
      { verdict: 'success', value: null, said: 'ended with exit code 0: all is well' },
    ],
    ['echo 12; exit 1', { verdict: 'failure', value: 12, said: '12, ended with exit code 1' }],
    ['echo cart is empty >&2; exit 1', { verdict: 'failure', said: 'ended with exit code 1: cart is empty' }],
    ['exit 2', { verdict: 'inconclusive', value: null }],
    ['pwd', { verdict: 'success', said: expect.stringContaining('ud-command-') }],
    ['head -c 300000 /dev/zero | tr "\\0" x; echo; echo 7', { verdict: 'success', value: 7 }],
  ])('%s', async (command, measurement) => {
    expect(await measure(command)).toMatchObject({ stable: null, sample: null, ...measurement });
  });

  it.each([
    ['exit 3', 'the command ended with exit code 3'],
    ['echo no route >&2; exit 127', 'the command ended with exit code 127: no route'],
    ['kill -9 $$', 'the command was ended by SIGKILL'],
  ])('%s is an error', async (command, message) => {
    await expect(measure(command)).rejects.toThrow(message);
  });

  it('is told whom it is about', async () => {
    const say = 'echo "$UNIDEPLOY_SERVICE $UNIDEPLOY_ROLLOUT $UNIDEPLOY_REVISION [$UNIDEPLOY_STABLE]"';
    expect((await measure(say)).said).toBe('ended with exit code 0: shop 3 2 [1]');
    expect((await measure(say, { stable: null })).said).toBe('ended with exit code 0: shop 3 2 []');
  });

  it('is ended when it is late, with all that it has started', async () => {
    await expect(measure('sleep 60 & echo $! > late; sleep 60; true', { timeout: 500 })).rejects.toThrow(
      'no answer within 500 ms',
    );
    await gone(Number(await readFile(join(folder, 'late'), 'utf8')));
  });

  it('is ended when nobody wants it any more, even if it does not want to', async () => {
    const controller = new AbortController();
    const measured = measure('trap "" TERM; echo $$ > deaf; while :; do sleep 0.1; done', {
      signal: controller.signal,
    });
    const pid = await eventually(async () => Number(await readFile(join(folder, 'deaf'), 'utf8')) || null);
    controller.abort(new Error('stopped'));
    await expect(measured).rejects.toThrow('stopped');
    await gone(pid);
  });
});

async function gone(pid: number): Promise<void> {
  await eventually(async () => {
    try {
      process.kill(pid, 0);
      return null;
    } catch {
      return true;
    }
  });
}

async function eventually<T>(found: () => Promise<T | null>): Promise<T> {
  const deadline = Date.now() + 10_000;
  for (;;) {
    const value = await found().catch(() => null);
    if (value !== null) return value;
    if (Date.now() > deadline) throw new Error('it did not happen within 10 s');
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
