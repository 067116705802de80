import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { BuildLog } from '../../../src/artifact/build-log.ts';
import { temporaryFolder } from '../../integration/artifact/folder.ts';

describe('the log of a build', () => {
  it('has every line as it comes, while the command runs', async () => {
    const log = BuildLog.open(await temporaryFolder(), 'site', new Date());
    log.line('one');
    expect(await readFile(log.path, 'utf8')).toBe('one\n');
    log.line('two');
    log.close();
    expect(await readFile(log.path, 'utf8')).toBe('one\ntwo\n');
  });

  it('keeps the beginning and the end of one that says too much, and tells how much is missing', async () => {
    const log = new BuildLog(join(await temporaryFolder(), 'log'), 50);
    for (let n = 0; n < 1000; n++) log.line(`line ${n}`);
    log.line('x'.repeat(10_000));
    log.line('last');
    log.close();
    const text = await readFile(log.path, 'utf8');
    expect(text.length).toBeLessThan(200);
    expect(text).toMatch(/^line 0\nline 1\n[^…]*… 99\d lines are left out here …\n/);
    expect(text).toMatch(/last\n$/);
  });

  it('is one of the newest twenty of its service', async () => {
    const folder = await temporaryFolder();
    for (let n = 0; n < 30; n++) BuildLog.open(folder, 'site', new Date(n)).close();
    BuildLog.open(folder, 'site-2', new Date(0)).close();
    const names = await readdir(folder);
    expect(names.filter((name) => name.startsWith('site.'))).toHaveLength(20);
    expect(names.filter((name) => name.startsWith('site-2.'))).toHaveLength(1);
    expect(names.some((name) => name.includes('00029Z'))).toBe(true);
  });
});
