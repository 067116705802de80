import type { Socket } from 'node:net';
import { afterEach, expect, test } from 'vitest';
import { beginBackup, changeRecords, endJob, followJob } from '../../../src/hypervisor/qemu/qmp/jobs.ts';
import { connectQmp } from '../../../src/hypervisor/qemu/qmp/session.ts';
import { type Peer, scriptedPeer, tell } from '../../support/qemu/scripted-peer.ts';

const peers: Peer[] = [];
afterEach(async () => {
  for (const each of peers.splice(0)) await each.close();
});

const JOB = 'copy-1';
const NEVER = { report: () => {}, signal: new AbortController().signal };

function state(status: string, done: number, error?: string) {
  const job = { id: JOB, type: 'backup', status, 'current-progress': done, 'total-progress': 100 };
  return error === undefined ? job : { ...job, error };
}

/** A QEMU that answers each query-jobs by the next of these, the last one ever after. */
async function answering(
  jobs: object[][],
  other: (execute: string, id: number, socket: Socket) => object | null = (_execute, id) => ({
    return: {},
    id,
  }),
) {
  const left = [...jobs];
  const peer = await scriptedPeer({
    command({ execute, id }, socket) {
      if (execute === 'query-jobs') tell(socket, { return: left.length > 1 ? left.shift() : left[0], id });
      else {
        const answer = other(execute, id, socket);
        if (answer) tell(socket, answer);
      }
    },
  });
  peers.push(peer);
  const session = await connectQmp(peer.path, { deadlineMs: 2_000 });
  return { session, said: () => peer.commands.map(({ execute }) => execute).slice(1), peer };
}

test('a job is dismissed when it has ended, and told how far it was', async () => {
  const { session, said } = await answering([
    [state('running', 10)],
    [state('pending', 100)],
    [state('concluded', 100)],
  ]);
  const heard: number[] = [];
  const end = await followJob(session, JOB, { ...NEVER, report: ({ done }) => heard.push(done) });
  expect(end).toEqual({ done: 100, total: 100 });
  expect(heard).toEqual([10, 100, 100]);
  expect(said()).toEqual(['query-jobs', 'query-jobs', 'query-jobs', 'job-dismiss']);
  session.close();
});

test.each([
  ['No space left on device', 'UD_DISK_FULL'],
  ['File too large', 'UD_DISK_FULL'],
  ['Disk quota exceeded', 'UD_DISK_FULL'],
  ['Input/output error', 'UD_COPY_FAILED'],
])('a job that ended with "%s" is %s', async (text, code) => {
  const { session, said } = await answering([[state('concluded', 7, text)]]);
  await expect(followJob(session, JOB, NEVER)).rejects.toMatchObject({ code });
  expect(said()).toContain('job-dismiss');
  session.close();
});

test('a job that is cancelled is followed to its end', async () => {
  const { session, said } = await answering([
    [state('running', 1)],
    [state('aborting', 1)],
    [state('concluded', 1, 'Operation canceled')],
  ]);
  const following = { report: () => {}, signal: AbortSignal.abort() };
  await expect(followJob(session, JOB, following)).rejects.toMatchObject({ code: 'UD_ABORTED' });
  expect(said()).toEqual(['query-jobs', 'job-cancel', 'query-jobs', 'query-jobs', 'job-dismiss']);
  session.close();
});

test('one that had ended before it could be cancelled was cancelled all the same', async () => {
  const refusal = "Job 'copy-1' in state 'concluded' cannot accept command verb 'cancel'";
  const { session } = await answering([[state('running', 1)], [state('concluded', 100)]], (execute, id) =>
    execute === 'job-cancel' ? { error: { class: 'GenericError', desc: refusal }, id } : { return: {}, id },
  );
  const following = { report: () => {}, signal: AbortSignal.abort() };
  await expect(followJob(session, JOB, following)).rejects.toMatchObject({ code: 'UD_ABORTED' });
  session.close();
});

test('a job that does not get on is cancelled, and one that does not end then is given up', async () => {
  const { session, said } = await answering([[state('running', 1)]]);
  const following = { ...NEVER, stalledMs: 300 };
  await expect(followJob(session, JOB, following)).rejects.toMatchObject({ code: 'UD_QMP' });
  expect(said()).toContain('job-cancel');
  session.close();
});

test('QEMU dies in the midst of a job', async () => {
  const { session, peer } = await answering([[state('running', 1)]]);
  const end = followJob(session, JOB, { ...NEVER, report: () => void peer.close() });
  await expect(end).rejects.toMatchObject({ code: 'UD_QMP' });
});

test('a job that is gone is told so, and is no error where it was to be ended', async () => {
  const { session } = await answering([[]]);
  await expect(followJob(session, JOB, NEVER)).rejects.toMatchObject({ code: 'UD_QMP' });
  await endJob(session, JOB);
  session.close();
});

test('what is no answer to query-jobs is a fault of the monitor', async () => {
  const { session } = await answering([[{ id: JOB }]]);
  await expect(followJob(session, JOB, NEVER)).rejects.toMatchObject({ code: 'UD_QMP' });
  session.close();
});

test('a copy and its record begin in one transaction, and a target that fails stops nobody', async () => {
  const { session, peer } = await answering([[]]);
  const backup = { job: JOB, from: 'data-db', to: 'copy', record: 'unideploy-2', rate: 5 };
  await beginBackup(session, { ...backup, since: 'unideploy-1' });
  const actions = peer.commands.at(-1)?.arguments.actions;
  expect(actions).toMatchObject([
    { type: 'block-dirty-bitmap-add', data: { name: 'unideploy-2', persistent: true } },
    {
      type: 'blockdev-backup',
      data: {
        ...{ sync: 'bitmap', bitmap: 'unideploy-1', 'bitmap-mode': 'never', speed: 5 },
        ...{ 'on-target-error': 'report', 'on-source-error': 'report', 'auto-dismiss': false },
      },
    },
  ]);
  session.close();
});

test('records that do not record, or were lost, are told from those that are whole', async () => {
  const bitmap = { name: 'a', count: 5, recording: true, persistent: true };
  const bitmaps = [
    bitmap,
    { ...bitmap, name: 'b', inconsistent: true },
    { ...bitmap, name: 'c', recording: false },
    { count: 9, recording: true, persistent: false },
  ];
  const { session } = await answering([[]], (_execute, id) => ({
    return: [{ 'node-name': 'data-db', 'dirty-bitmaps': bitmaps }],
    id,
  }));
  expect(await changeRecords(session, 'data-db')).toEqual([
    { name: 'a', isLost: false, changed: 5 },
    { name: 'b', isLost: true, changed: 5 },
    { name: 'c', isLost: true, changed: 5 },
  ]);
  expect(await changeRecords(session, 'other')).toEqual([]);
  session.close();
});
