import { execFileSync } from 'node:child_process';
import { copyFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import type { Progress } from '../../../src/domain/progress.ts';
import { blockdevDel, queryStatus } from '../../../src/hypervisor/qemu/qmp/commands.ts';
import {
  beginBackup,
  changeRecords,
  endJob,
  followJob,
  queryJobs,
  removeChangeRecord,
} from '../../../src/hypervisor/qemu/qmp/jobs.ts';
import { type BareQemu, bareQemu } from '../../support/qemu/bare.ts';

const NODE = 'data-db';
const SLOW = 1 << 20;
const NEVER = { report: () => {}, signal: new AbortController().signal };

let qemu: BareQemu;
beforeEach(async () => {
  qemu = await bareQemu();
});
afterEach(() => qemu.end());

async function begin(to: string, since: string | null = null, rate = 0): Promise<string> {
  if (since === null) qemu.qemuImg('create', '-q', '-f', 'qcow2', `${to}.qcow2`, '64M');
  await qemu.open(to);
  const job = `copy-${to}`;
  await beginBackup(qemu.session, { job, from: NODE, to, record: `since-${to}`, since, rate });
  return job;
}

async function copied(to: string, since: string | null = null): Promise<Progress> {
  const end = await followJob(qemu.session, await begin(to, since), NEVER);
  await blockdevDel(qemu.session, to);
  return end;
}

test('a copy is of the moment it began, whatever is written meanwhile', async () => {
  await qemu.io('write -P 1 0 16M');
  const job = await begin('one', null, SLOW);
  const heard: Progress[] = [];
  const end = followJob(qemu.session, job, { ...NEVER, report: (each) => heard.push(each) });
  await qemu.io('write -P 2 8M 1M');
  await qemu.session.execute('block-job-set-speed', { device: job, speed: 0 });
  const whole = { done: 64 << 20, total: 64 << 20 };
  expect(await end).toEqual(whole);
  expect(heard.at(-1)).toEqual(whole);
  expect(await queryJobs(qemu.session)).toEqual([]);
  await qemu.io('read -P 1 0 16M', 'one');
  expect(await changeRecords(qemu.session, NODE)).toEqual([
    { name: 'since-one', isLost: false, changed: 1 << 20 },
  ]);
});

test('one of what has changed reads no more than that, and makes the clone of the last one equal to the disk', async () => {
  await qemu.io('write -P 1 0 16M');
  await copied('one');
  await qemu.io('write -P 2 4M 128k');
  copyFileSync(join(qemu.folder, 'one.qcow2'), join(qemu.folder, 'two.qcow2'));
  expect(await copied('two', 'since-one')).toEqual({ done: 128 << 10, total: 128 << 10 });
  await qemu.quit();
  expect(qemu.qemuImg('compare', 'data-db.qcow2', 'two.qcow2')).toContain('identical');
  expect(qemu.qemuImg('check', 'two.qcow2')).toContain('No errors');
});

test('after one that was cancelled the record has all that it had, and what was written since', async () => {
  await copied('one');
  await qemu.io('write -P 2 0 16M');
  copyFileSync(join(qemu.folder, 'one.qcow2'), join(qemu.folder, 'two.qcow2'));
  const end = new AbortController();
  const job = await begin('two', 'since-one', SLOW);
  await qemu.io('write -P 3 32M 1M');
  const following = { report: ({ done }: Progress) => done > 0 && end.abort(), signal: end.signal };
  await expect(followJob(qemu.session, job, following)).rejects.toMatchObject({ code: 'UD_ABORTED' });
  await blockdevDel(qemu.session, 'two');
  await removeChangeRecord(qemu.session, NODE, 'since-two');
  expect(await changeRecords(qemu.session, NODE)).toEqual([
    { name: 'since-one', isLost: false, changed: 17 << 20 },
  ]);
  copyFileSync(join(qemu.folder, 'one.qcow2'), join(qemu.folder, 'two.qcow2'));
  await copied('two', 'since-one');
  await qemu.quit();
  expect(qemu.qemuImg('compare', 'data-db.qcow2', 'two.qcow2')).toContain('identical');
});

test('records outlive a QEMU that ends in order; of one that is killed they are lost, and say so', async () => {
  await copied('one');
  await qemu.io('write -P 2 0 1M');
  await qemu.quit();
  await qemu.start();
  expect(await changeRecords(qemu.session, NODE)).toEqual([
    { name: 'since-one', isLost: false, changed: 1 << 20 },
  ]);
  await qemu.kill();
  await qemu.start();
  expect(await changeRecords(qemu.session, NODE)).toMatchObject([{ name: 'since-one', isLost: true }]);
  await removeChangeRecord(qemu.session, NODE, 'since-one');
  await removeChangeRecord(qemu.session, NODE, 'since-one');
  expect(await changeRecords(qemu.session, NODE)).toEqual([]);
});

test('a target that takes no more fails the job, and leaves the disk and its guest alone', async () => {
  await qemu.io('write -P 1 0 16M');
  const pid = String(qemu.pid);
  execFileSync('prlimit', ['--pid', pid, `--fsize=${4 << 20}`]);
  const job = await begin('one');
  await expect(followJob(qemu.session, job, NEVER)).rejects.toMatchObject({ code: 'UD_DISK_FULL' });
  expect(await queryJobs(qemu.session)).toEqual([]);
  await blockdevDel(qemu.session, 'one');
  expect(await queryStatus(qemu.session)).toBe('prelaunch');
  await qemu.io('read -P 1 0 16M');
});

test('one whose QEMU is killed is told so', async () => {
  await qemu.io('write -P 1 0 16M');
  const job = await begin('one', null, SLOW);
  const end = followJob(qemu.session, job, { ...NEVER, report: () => void qemu.kill() });
  await expect(end).rejects.toMatchObject({ code: 'UD_QMP' });
});

test('a job that nobody follows is ended', async () => {
  await qemu.io('write -P 1 0 16M');
  const job = await begin('one', null, SLOW);
  await endJob(qemu.session, job);
  await endJob(qemu.session, job);
  expect(await queryJobs(qemu.session)).toEqual([]);
});
