import { z } from 'zod';
import type { Progress } from '../../../domain/progress.ts';
import { UnideployError } from '../../../errors.ts';
import { asked } from './commands.ts';
import { broken, jobError, refused } from './errors.ts';
import type { QmpSession } from './session.ts';

/** A copy of a disk's content at the moment it begins, into another disk of the same size. */
export interface Backup {
  /** id of the job */
  job: string;
  /** nodes */
  from: string;
  to: string;
  /** record of what changes from this moment on, kept within the disk */
  record: string;
  /** only what this record has; null: everything */
  since: string | null;
  /** bytes a second; 0: as many as there can be */
  rate: number;
}

/**
 * Begins a copy and the record of what changes after it in one moment: no write is in neither, and none is in both. The
 * record that it is made by stays as it is, whatever becomes of the job.
 */
export async function beginBackup(session: QmpSession, backup: Backup): Promise<void> {
  const { job, from, to, record, since, rate } = backup;
  const content =
    since === null ? { sync: 'full' } : { sync: 'bitmap', bitmap: since, 'bitmap-mode': 'never' };
  // A target that fails must never stop the guest; a job that is not dismissed cannot end unheard.
  const onError = { 'on-source-error': 'report', 'on-target-error': 'report' };
  const kept = { 'auto-finalize': true, 'auto-dismiss': false };
  await session.execute('transaction', {
    actions: [
      { type: 'block-dirty-bitmap-add', data: { node: from, name: record, persistent: true } },
      {
        type: 'blockdev-backup',
        data: { 'job-id': job, device: from, target: to, speed: rate, ...content, ...onError, ...kept },
      },
    ],
  });
}

export interface JobState {
  id: string;
  isOver: boolean;
  /** of one that is over: why it failed, in QEMU's words; null: it did not */
  error: string | null;
  progress: Progress;
}

/** Jobs that are under way, and those that are over and not dismissed. */
export async function queryJobs(session: QmpSession): Promise<JobState[]> {
  const answer = await asked(session, JOBS, 'query-jobs');
  return answer.map(({ id, status, error, 'current-progress': done, 'total-progress': total }) => ({
    id,
    isOver: status === 'concluded',
    error: error ?? null,
    progress: { done, total },
  }));
}
const JOBS = z.array(
  z.object({
    id: z.string(),
    status: z.string(),
    error: z.string().optional(),
    'current-progress': z.number(),
    'total-progress': z.number(),
  }),
);

export interface JobFollowing {
  report: (progress: Progress) => void;
  /** cancels the job */
  signal: AbortSignal;
  /** milliseconds in which a job has to get on, and one that was cancelled to end */
  stalledMs?: number;
}

/** How often is asked how far a job is, in ms; its end tells itself. */
const LOOK_EVERY = 250;
const STALLED = 120_000;

/**
 * Waits for a job to end, dismisses it, and resolves with how far it was.
 * @throws UD_DISK_FULL, UD_COPY_FAILED; UD_ABORTED after the signal; UD_QMP when QEMU is gone
 */
export async function followJob(session: QmpSession, id: string, following: JobFollowing): Promise<Progress> {
  const { report, signal, stalledMs = STALLED } = following;
  let cancelled = false;
  let last = -1;
  let movedAt = performance.now();
  for (;;) {
    const change = changeOf(session, id, signal, cancelled);
    try {
      const job = (await queryJobs(session)).find((each) => each.id === id);
      if (job === undefined) throw broken(`job ${id} is gone without a word`);
      if (job.isOver) {
        await dismissJob(session, id);
        if (cancelled) throw jobCancelled();
        if (job.error !== null) throw jobError(job.error);
        report(job.progress);
        return job.progress;
      }
      if (job.progress.done !== last) {
        last = job.progress.done;
        movedAt = performance.now();
        report(job.progress);
      }
      const isStalled = performance.now() - movedAt > stalledMs;
      if (cancelled && isStalled) throw broken(`job ${id} does not end`);
      if (!cancelled && (signal.aborted || isStalled)) {
        cancelled = true;
        movedAt = performance.now();
        await cancelJob(session, id);
        continue;
      }
      await change.happened;
    } finally {
      change.forget();
    }
  }
}

/** Resolves when the job may have changed, is to be cancelled, or is to be looked at again. */
function changeOf(session: QmpSession, id: string, signal: AbortSignal, cancelled: boolean) {
  let wake = () => {};
  const happened = new Promise<void>((resolve) => {
    wake = resolve;
  });
  const stop = session.onEvent(({ name, data }) => {
    if (name === 'JOB_STATUS_CHANGE' && data.id === id) wake();
  });
  const timer = setTimeout(wake, LOOK_EVERY);
  if (!cancelled) signal.addEventListener('abort', wake);
  const forget = () => {
    stop();
    clearTimeout(timer);
    signal.removeEventListener('abort', wake);
  };
  return { happened, forget };
}

/** Ends a job that nobody follows, and forgets it; one that is gone is no error. */
export async function endJob(session: QmpSession, id: string): Promise<void> {
  const isThere = (await queryJobs(session)).some((job) => job.id === id);
  if (!isThere) return;
  const following = { report: () => {}, signal: AbortSignal.abort() };
  await followJob(session, id, following).catch((error: unknown) => {
    if (!session.open) throw error;
  });
}

/** One that is over already cannot be cancelled, and need not be. */
async function cancelJob(session: QmpSession, id: string): Promise<void> {
  await session.execute('job-cancel', { id }).catch((error: unknown) => {
    if (!refused(error, 'job-over', 'not-found')) throw error;
  });
}

async function dismissJob(session: QmpSession, id: string): Promise<void> {
  await session.execute('job-dismiss', { id });
}

function jobCancelled(): UnideployError {
  return new UnideployError('UD_ABORTED', 'the copy was cancelled; nothing of it stays', 'begin it again');
}

/** A record of what has changed on a disk since a moment. */
export interface ChangeRecord {
  name: string;
  /** QEMU that was killed has not written it down: it can only be removed */
  isLost: boolean;
  /** bytes that have changed */
  changed: number;
}

/** The named records of a disk. */
export async function changeRecords(session: QmpSession, node: string): Promise<ChangeRecord[]> {
  const answer = await asked(session, NODES, 'query-named-block-nodes', { flat: true });
  const found = answer.find((each) => each['node-name'] === node)?.['dirty-bitmaps'] ?? [];
  return found.flatMap(({ name, count, recording, persistent, inconsistent = false }) =>
    name === undefined ? [] : [{ name, isLost: inconsistent || !recording || !persistent, changed: count }],
  );
}
const NODES = z.array(
  z.object({
    'node-name': z.string().optional(),
    'dirty-bitmaps': z
      .array(
        z.object({
          name: z.string().optional(),
          count: z.number(),
          recording: z.boolean(),
          persistent: z.boolean(),
          inconsistent: z.boolean().optional(),
        }),
      )
      .optional(),
  }),
);

/** One that is gone is no error. */
export async function removeChangeRecord(session: QmpSession, node: string, name: string): Promise<void> {
  await session.execute('block-dirty-bitmap-remove', { node, name }).catch((error: unknown) => {
    if (!refused(error, 'not-found')) throw error;
  });
}
