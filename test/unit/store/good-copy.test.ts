import { existsSync } from 'node:fs';
import { mkdtemp, readdir, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import Database from 'libsql';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { examine } from '../../../src/store/good-copy.ts';
import { sqliteStore } from '../../../src/store/sqlite.ts';
import { goalOf, rollout } from '../../support/revisions.ts';

let folder: string;
const file = (name: string) => join(folder, name);

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'ud-copy-'));
});

afterEach(() => rm(folder, { recursive: true }));

/** A database with one entry in its journal, all of it in the file itself. */
function made(name: string): void {
  const store = sqliteStore(file(name));
  store.openRollout(rollout(0, goalOf(null, 0), goalOf(1, 1)));
  store.close();
  const db = new Database(file(name));
  db.prepare('pragma wal_checkpoint(truncate)').all();
  db.close();
}

async function change(path: string, sql: string): Promise<void> {
  const db = new Database(path);
  db.exec(sql);
  db.close();
}

describe('a database', () => {
  it('is good when all of it can be read', () => {
    made('a.db');
    expect(examine(file('a.db'))).toEqual({ kind: 'good', position: 1 });
  });

  it('is missing when it is not there, or of no bytes', async () => {
    await writeFile(file('empty.db'), '');
    expect(examine(file('none.db'))).toEqual({ kind: 'missing' });
    expect(examine(file('empty.db'))).toEqual({ kind: 'missing' });
    expect(existsSync(file('none.db'))).toBe(false);
  });

  it.each([
    ['cut', (path: string) => truncate(path, 5000)],
    ['something else', (path: string) => writeFile(path, Buffer.alloc(9000, 7))],
    ['without tables', (path: string) => change(path, 'drop table journal')],
    ['with what is no JSON', (path: string) => change(path, `update rollouts set body = '{"id": 1, "ser'`)],
  ] as const)('is damaged when it is %s', async (_name, damage) => {
    made('a.db');
    await damage(file('a.db'));
    expect(examine(file('a.db'))).toMatchObject({ kind: 'damaged', why: expect.stringMatching(/.{5}/) });
  });
});

describe('a copy', () => {
  it('is whole, and leaves nothing beside it', async () => {
    const store = sqliteStore(file('a.db'));
    store.openRollout(rollout(0, goalOf(null, 0), goalOf(1, 1)));
    store.copyTo(file('copy.db'));
    store.append({ id: 1, service: 'site' }, 5, { event: 'waiting', reason: 'more' });
    expect(examine(file('copy.db'))).toEqual({ kind: 'good', position: 1 });
    store.copyTo(file('copy.db'));
    expect(examine(file('copy.db'))).toEqual({ kind: 'good', position: 2 });
    store.close();
    expect((await readdir(folder)).filter((name) => name.startsWith('copy'))).toEqual(['copy.db']);
  });

  it('that cannot be made leaves the one before', async () => {
    made('a.db');
    const store = sqliteStore(file('a.db'));
    store.copyTo(file('copy.db'));
    const db = new Database(file('a.db'));
    db.exec("update journal set body = 'torn'");
    db.close();
    expect(() => store.copyTo(file('copy.db'))).toThrow('cannot be read');
    store.close();
    expect(examine(file('copy.db'))).toEqual({ kind: 'good', position: 1 });
  });
});
