import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import Fastify from 'fastify';
import { expect, onTestFinished, test } from 'vitest';
import { apiClient } from '../../../src/daemon/client.ts';
import { JobStreams, type Work } from '../../../src/daemon/job-stream.ts';
import { statePaths } from '../../../src/daemon/paths.ts';
import type { Progress } from '../../../src/domain/progress.ts';
import { report, UnideployError } from '../../../src/errors.ts';

test('a client hears how far a job is, and its result', async () => {
  const { client } = await serving(async (tell) => {
    tell({ done: 1, total: 2 });
    tell({ done: 2, total: 2 });
    return { is: 'done' };
  });
  const heard: Progress[] = [];
  const result = await client.job('/job', {}, { report: (each) => heard.push(each), signal: NEVER });
  expect(result).toEqual({ is: 'done' });
  expect(heard).toEqual([
    { done: 0, total: 0 },
    { done: 1, total: 2 },
    { done: 2, total: 2 },
  ]);
});

test('the error of a job is the error of the call', async () => {
  const { client } = await serving(async () => {
    throw new UnideployError('UD_LOCKED', 'somebody is at it', 'wait');
  });
  await expect(client.job('/job', {}, SILENT)).rejects.toMatchObject({ code: 'UD_LOCKED', next: 'wait' });
});

test('a client that goes away cancels its job', async () => {
  let over = () => {};
  const cancelled = new Promise<void>((resolve) => {
    over = resolve;
  });
  const { client } = await serving(untilCancelled(() => over()));
  const end = new AbortController();
  const call = client.job('/job', {}, { report: () => end.abort(), signal: end.signal });
  await expect(call).rejects.toThrow();
  await cancelled;
});

test('the end of the API cancels its jobs, and waits until they have ended', async () => {
  let isOver = false;
  const { client, close } = await serving(
    untilCancelled(() => {
      isOver = true;
    }),
  );
  let call: Promise<unknown> | undefined;
  await new Promise<void>((begun) => {
    call = client.job('/job', {}, { report: () => begun(), signal: NEVER });
    call.catch(() => {});
  });
  await close();
  expect(isOver).toBe(true);
  await expect(call).rejects.toBeInstanceOf(UnideployError);
});

test('a controller that dies in the midst of a job is lost', async () => {
  const { client, die } = await serving(untilCancelled(() => {}));
  const call = client.job('/job', {}, { report: () => die(), signal: NEVER });
  await expect(call).rejects.toMatchObject({ code: 'UD_CONTROLLER_LOST' });
});

const NEVER = new AbortController().signal;
const SILENT = { report: () => {}, signal: NEVER };

function untilCancelled(over: () => void): Work<never> {
  return async (tell, signal) => {
    tell({ done: 1, total: 2 });
    await new Promise((resolve) => signal.addEventListener('abort', resolve));
    over();
    throw new UnideployError('UD_ABORTED', 'the job was cancelled', 'begin it again');
  };
}

async function serving<R>(work: Work<R>) {
  const root = await mkdtemp(join(tmpdir(), 'ud-'));
  const paths = statePaths(root);
  const server = Fastify({ forceCloseConnections: true });
  const jobs = new JobStreams({ tell: report, veilAll: (value) => value });
  server.addHook('preClose', () => jobs.close());
  server.post('/job', (_request, reply) => jobs.answer(reply, work));
  await server.listen({ path: paths.socket });
  const client = apiClient(paths);
  const close = async () => await server.close();
  onTestFinished(async () => {
    await client.close();
    await close();
    await rm(root, { recursive: true });
  });
  return { client, close, die: () => server.server.closeAllConnections() };
}
