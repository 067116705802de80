import { appendFile, mkdtemp, open, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it, onTestFinished } from 'vitest';
import { boundLog } from '../../src/bounded-log.ts';

async function log(text: string): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'ud-log-'));
  onTestFinished(() => rm(folder, { recursive: true }));
  await writeFile(join(folder, 'a.log'), text);
  return join(folder, 'a.log');
}

it('a log that is too long becomes the older one, and whoever has it open goes on writing', async () => {
  const file = await log('first\n');
  const writer = await open(file, 'a');
  onTestFinished(() => writer.close());
  await writer.write('second\n');
  expect(await boundLog(file, 10)).toBe(true);
  await writer.write('third\n');
  expect(await readFile(file, 'utf8')).toBe('third\n');
  expect(await readFile(`${file}.1`, 'utf8')).toBe('first\nsecond\n');
});

it('one that is short, or not there, stays as it is', async () => {
  const file = await log('short\n');
  expect(await boundLog(file, 10)).toBe(false);
  expect(await boundLog(`${file}.none`, 10)).toBe(false);
  await appendFile(file, 'more\n');
  expect(await readFile(file, 'utf8')).toBe('short\nmore\n');
});
