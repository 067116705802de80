import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { execa } from 'execa';
import { afterEach, beforeEach, describe, expect, it, onTestFinished } from 'vitest';
import { takeLease } from '../../../src/daemon/lease.ts';
import { LeaseFiles } from '../../../src/daemon/lease-files.ts';
import { type StatePaths, statePaths } from '../../../src/daemon/paths.ts';
import { identityOf, isGone } from '../../../src/daemon/process-identity.ts';
import { pastStuckWriters } from '../../../src/daemon/stuck-writer.ts';
import { DEFAULT_SUPERVISION } from '../../../src/domain/supervision.ts';
import { sqliteStore } from '../../../src/store/sqlite.ts';
import { goalOf, HEALTH, POLICY } from '../../support/revisions.ts';

let paths: StatePaths;
const SERVICE = {
  name: 'site',
  goal: goalOf(1, 2),
  policy: POLICY,
  health: HEALTH,
  warm: null,
  supervision: DEFAULT_SUPERVISION,
  gaveUp: null,
};

beforeEach(async () => {
  paths = statePaths(await mkdtemp(join(tmpdir(), 'ud-stuck-')));
  const store = sqliteStore(paths.store);
  store.putService(SERVICE);
  store.close();
});
afterEach(() => rm(paths.root, { recursive: true, force: true }));

/** A process that takes the database's lock, writes half of something, and is stopped. */
async function stuckWriter(): Promise<number> {
  const script = `
    import Database from 'libsql';
    const db = new Database(process.argv[1]);
    db.exec('begin immediate; delete from services');
    process.stdout.write('stuck', () => process.kill(process.pid, 'SIGSTOP'));`;
  const child = execa(process.execPath, ['--input-type=module', '-e', script, paths.store], {
    reject: false,
  });
  onTestFinished(() => void child.kill('SIGKILL'));
  for await (const piece of child.stdout) if (String(piece).includes('stuck')) break;
  return child.pid ?? 0;
}

async function open(): Promise<{ log: string[] }> {
  const log: string[] = [];
  const lease = await takeLease(paths, { log: (line) => log.push(line), onLost: () => {} });
  onTestFinished(() => lease.release());
  const store = await pastStuckWriters(
    () => sqliteStore(paths.store, lease.fence),
    lease,
    (line) => log.push(line),
  );
  expect(store.services()).toEqual([SERVICE]);
  store.putService(SERVICE);
  store.close();
  return { log };
}

describe('a database that is locked when a controller starts', () => {
  it('is freed from a controller that was stopped in the midst of writing, and has lost its lease', async () => {
    const pid = await stuckWriter();
    new LeaseFiles(paths.lease).claim({ ...identityOf(pid), token: 7, until: 1 });
    const { log } = await open();
    expect(log.join('\n')).toContain(`controller ${pid} lost its lease and keeps the database locked`);
    expect(isGone(identityOf(pid))).not.toBe(false);
  });

  it('is left to any other program, and the error says what to do', async () => {
    const pid = await stuckWriter();
    const { started } = identityOf(pid);
    await expect(open()).rejects.toMatchObject({
      code: 'UD_STATE_BUSY',
      next: expect.stringContaining('fuser'),
    });
    expect(identityOf(pid).started).toBe(started);
  });

  it('costs no process its life that only has the number of an earlier controller', async () => {
    const pid = await stuckWriter();
    new LeaseFiles(paths.lease).claim({ ...identityOf(pid), started: '1', token: 7, until: 1 });
    await expect(open()).rejects.toMatchObject({ code: 'UD_STATE_BUSY' });
    expect(isGone(identityOf(pid))).toBe(false);
  });
});
