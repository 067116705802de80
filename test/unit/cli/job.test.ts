import { PassThrough } from 'node:stream';
import { text } from 'node:stream/consumers';
import { expect, test } from 'vitest';
import type { Context } from '../../../src/cli/context.ts';
import { followJob } from '../../../src/cli/job.ts';
import { jsonRenderer } from '../../../src/cli/render/json.ts';
import { linesRenderer } from '../../../src/cli/render/lines.ts';
import type { Following } from '../../../src/daemon/client.ts';
import { statePaths } from '../../../src/daemon/paths.ts';

const HALF = { done: 32_000_000, total: 64_000_000 };

test('JSON tells each step of a job', async () => {
  const out = new PassThrough();
  const context = contextWith(jsonRenderer(out));
  const result = await followJob(context, 'copy of db', async (_client, { report }) => {
    report(HALF);
    return 7;
  });
  out.end();
  expect(result).toBe(7);
  expect(JSON.parse(await text(out))).toEqual({ event: 'progress', what: 'copy of db', ...HALF });
});

test('lines tell how far a job is, now and then', async () => {
  const out = new PassThrough();
  await followJob(contextWith(linesRenderer(out)), 'copy of db', async (_client, { report }) => {
    report({ done: 0, total: 0 });
    report(HALF);
    report({ ...HALF, done: 33_000_000 });
  });
  out.end();
  expect(await text(out)).toMatch(/^[0-9:.]+ copy of db: 32.0 MB of 64.0 MB \(50%\)\n$/);
});

test('a signal cancels the job, and the command ends with its number', async () => {
  const job = followJob(contextWith(linesRenderer(new PassThrough())), 'copy of db', async (_client, how) => {
    process.emit('SIGINT', 'SIGINT');
    await cancelled(how);
  });
  await expect(job).rejects.toMatchObject({ code: 'UD_INTERRUPTED', exitCode: 130 });
});

async function cancelled({ signal }: Following): Promise<never> {
  signal.throwIfAborted();
  return await new Promise((_resolve, reject) => {
    signal.addEventListener('abort', () => reject(signal.reason));
  });
}

function contextWith(renderer: Context['renderer']): Context {
  const paths = statePaths('/nowhere');
  const rest = { json: false, file: 'unideploy.yaml', service: null, performer: 'me' };
  return { ...rest, paths, elsewhere: null, renderer };
}
