import { existsSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { execa } from 'execa';
import { afterEach, beforeEach, describe, expect, it, onTestFinished } from 'vitest';
import { fencedBy } from '../../../src/daemon/fenced.ts';
import { type HeldLease, takeLease } from '../../../src/daemon/lease.ts';
import { type Held, LeaseFiles } from '../../../src/daemon/lease-files.ts';
import { lockState } from '../../../src/daemon/lock.ts';
import { monotonic } from '../../../src/daemon/monotonic.ts';
import { type StatePaths, statePaths } from '../../../src/daemon/paths.ts';
import { identityOf, isGone } from '../../../src/daemon/process-identity.ts';
import { isSilent } from '../../../src/daemon/silent.ts';
import { LEASE } from '../../../src/domain/lease.ts';
import { eventually } from '../../support/qemu/asking.ts';

let paths: StatePaths;
let files: LeaseFiles;
let said: string[];

beforeEach(async () => {
  paths = statePaths(await mkdtemp(join(tmpdir(), 'ud-lease-')));
  files = new LeaseFiles(paths.lease);
  said = [];
});
afterEach(() => rm(paths.root, { recursive: true, force: true }));

const lost: string[] = [];
async function take(name = 'it'): Promise<HeldLease> {
  const lease = await takeLease(paths, {
    log: (line) => said.push(line),
    onLost: ({ code }) => lost.push(`${name}: ${code}`),
  });
  onTestFinished(() => lease.release());
  return lease;
}

/** The newest lease, as if its holder had not renewed it for so long. */
function silence(ms: number): Held {
  const last = files.all().at(-1);
  if (!last) throw new Error('nobody has the lease');
  const silent = { ...last, until: monotonic() - ms + LEASE.duration };
  files.renew(silent);
  return silent;
}

describe('the lease of a state folder', () => {
  it('keeps others out as long as its holder renews it', async () => {
    const lease = await take();
    await expect(take()).rejects.toMatchObject({
      code: 'UD_CONTROLLER_RUNNING',
      message: expect.stringContaining(`process ${process.pid}`),
    });
    lease.fence.check();
    const { until } = silence(LEASE.renewEvery);
    await eventually('it is renewed', () => (files.all().at(-1)?.until ?? 0) > until);
    expect(isSilent(paths)).toBe(false);
  });

  it('is given back: the next one has it at once, with the next token', async () => {
    const first = await take();
    first.release();
    expect((await take()).fence.token).toBe(first.fence.token + 1);
  });

  it('is lost by a holder that is silent for too long, and lives: it is refused from then on, and told once', async () => {
    const late = await take('late');
    silence(LEASE.duration);
    expect(isSilent(paths)).toBe(true);
    const next = await take('next');
    expect(next.fence.token).toBe(late.fence.token + 1);
    expect(said).toEqual([expect.stringContaining(`controller ${process.pid} is silent`)]);
    for (let step = 0; step < 3; step++)
      expect(() => late.fence.check()).toThrow(expect.objectContaining({ code: 'UD_FENCED' }));
    expect(lost).toEqual(['late: UD_FENCED']);
    next.fence.check();
  });

  it('stays the newer one’s, whatever the late one writes when it wakes', async () => {
    const late = await take();
    silence(LEASE.duration);
    const next = await take();
    late.release();
    next.fence.check();
    await expect(take()).rejects.toMatchObject({ code: 'UD_CONTROLLER_RUNNING' });
  });

  it('is not lost by silence alone: where nobody came the holder goes on', async () => {
    const lease = await take();
    silence(3 * LEASE.duration);
    lease.fence.check();
    await eventually('it is renewed', () => !isSilent(paths));
  });

  it('in doubt is waited for: until it is renewed', async () => {
    await take();
    silence(3 * LEASE.renewEvery);
    await expect(take()).rejects.toMatchObject({ code: 'UD_CONTROLLER_RUNNING' });
  });

  it('in doubt is waited for: until its time is over', async () => {
    const child = execa('sleep', ['60']);
    child.catch(() => {});
    onTestFinished(() => void child.kill('SIGKILL'));
    await eventually('it runs', () => isGone(identityOf(child.pid ?? 0)) === false);
    const first = await take();
    first.release();
    // Another process, which never renews.
    files.claim({ ...identityOf(child.pid ?? 0), token: first.fence.token + 1, until: monotonic() + 300 });
    const next = await take();
    expect(next.fence.token).toBe(first.fence.token + 2);
    expect(next.late().map(({ pid }) => pid)).toContain(child.pid);
  });

  it('of a process that has ended is free, and its file goes', async () => {
    const ended = { ...identityOf(process.pid), started: '1' };
    files.claim({ ...ended, token: 41, until: monotonic() + LEASE.duration });
    expect((await take()).fence.token).toBe(42);
    expect(files.all().map(({ token }) => token)).toEqual([42]);
    expect(said).toEqual([]);
  });

  it('that a power failure has torn is over, and its token is not given out again', async () => {
    await writeFile(join(paths.lease, '41'), '');
    expect((await take()).fence.token).toBe(42);
  });

  it('takes away what a holder was writing when it was killed', async () => {
    const half = join(paths.lease, '41.4711');
    await writeFile(half, '{"tok');
    expect((await take()).fence.token).toBeGreaterThan(41);
    expect(existsSync(half)).toBe(false);
  });

  it('keeps the files of those that came after one that lives: it finds its successor by them', async () => {
    const late = await take();
    files.claim({ ...identityOf(0), token: late.fence.token + 1, until: 0 });
    const next = await take();
    expect(next.fence.token).toBe(late.fence.token + 2);
    expect(() => late.fence.check()).toThrow(expect.objectContaining({ code: 'UD_FENCED' }));
  });

  it('is kept from those who find no leases while a controller lives that knows none', async () => {
    const old = lockState(paths);
    await expect(take()).rejects.toMatchObject({ code: 'UD_CONTROLLER_RUNNING' });
    old?.release();
    await take();
    expect(lockState(paths)).toBeNull();
  });
});

describe('a process', () => {
  it('is known by its start, its boot and its namespace, not by its number alone', () => {
    const own = identityOf(process.pid);
    expect(isGone(own)).toBe(false);
    expect(isGone({ ...own, started: '1' })).toBe(true);
    expect(isGone({ ...own, boot: 'another' })).toBe(true);
    expect(isGone({ ...own, namespace: 'another' })).toBeNull();
  });
});

describe('a part behind a fence', () => {
  it('does nothing for a controller that is late', async () => {
    const late = await take();
    const done: string[] = [];
    const part = fencedBy(late.fence, { act: (what: string) => done.push(what), name: 'part' });
    part.act('in time');
    silence(LEASE.duration);
    await take();
    expect(() => part.act('too late')).toThrow(expect.objectContaining({ code: 'UD_FENCED' }));
    expect({ done, name: part.name }).toEqual({ done: ['in time'], name: 'part' });
  });
});
