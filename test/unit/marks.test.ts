import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { UNFENCED } from '../../src/domain/fence.ts';
import { ownFolder } from '../../src/marks.ts';

let folder: string;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'ud-marks-'));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

const fence = (token: number) => ({ token, check: () => {} });
const FENCED = expect.objectContaining({ code: 'UD_FENCED' });

describe('a folder', () => {
  it('is marked by whoever takes it, and has the newest mark alone', async () => {
    for (const token of [7, 7, 12]) ownFolder(folder, fence(token));
    expect(await readdir(folder)).toEqual(['owner.12']);
  });

  it('is refused to an older token, which changes nothing in it', async () => {
    ownFolder(folder, fence(12));
    expect(() => ownFolder(folder, fence(11))).toThrow(FENCED);
    expect(() => ownFolder(folder, UNFENCED)).toThrow(FENCED);
    expect(await readdir(folder)).toEqual(['owner.12']);
  });

  it('is told by numbers, not by letters, which mark is newer', () => {
    ownFolder(folder, fence(9));
    ownFolder(folder, fence(10));
    expect(() => ownFolder(folder, fence(9))).toThrow(FENCED);
  });

  it('that a late controller marked all the same stays the newer one’s', async () => {
    ownFolder(folder, fence(12));
    await writeFile(join(folder, 'owner.11'), '');
    expect(() => ownFolder(folder, fence(11))).toThrow(FENCED);
    ownFolder(folder, fence(12));
  });

  it('of nobody is left unmarked by who has no token', async () => {
    ownFolder(folder, UNFENCED);
    expect(await readdir(folder)).toEqual([]);
  });
});
