import pRetry from 'p-retry';
import type { Client } from '../daemon/client.ts';
import type { Started } from '../daemon/messages.ts';
import type { JournalEntry } from '../domain/journal.ts';
import type { Rollout, Verdict } from '../domain/rollout.ts';
import { goal } from '../domain/rollout.ts';
import { UnideployError } from '../errors.ts';
import type { Renderer, Result } from './render/renderer.ts';

/** The exit code of each verdict; docs/errors.md has the whole list. */
const EXIT: Record<Verdict, number> = {
  succeeded: 0,
  'rolled-back': 3,
  aborted: 3,
  failed: 4,
  superseded: 4,
};

/** How long a controller that went away in the middle of a rollout may take to come back. */
const RETURNS = { retries: 20, minTimeout: 500, maxTimeout: 2000 };

/** Shows what a request has set going, and how it ended, which the exit code that it returns says too. */
export async function follow(client: Client, started: Started, renderer: Renderer): Promise<number> {
  const result =
    started.kind === 'unchanged' ? unchanged(started) : await seeThrough(client, started.rollout, renderer);
  renderer.end(result);
  return result.exitCode;
}

function unchanged({ service, revision }: Extract<Started, { kind: 'unchanged' }>): Result {
  return { result: 'unchanged', exitCode: 0, service, rollout: null, revision, ms: 0, error: null };
}

async function seeThrough(client: Client, rollout: Rollout, renderer: Renderer): Promise<Result> {
  const detach = () => {
    const { id, service } = rollout;
    renderer.note(
      `rollout ${id} goes on without this command; see it: unideploy status --service ${service}`,
    );
    process.exit(130);
  };
  process.once('SIGINT', detach);
  try {
    return toResult(rollout, await watch(client, rollout, renderer));
  } finally {
    process.off('SIGINT', detach);
  }
}

type Finished = Extract<JournalEntry, { event: 'rollout-finished' }>;

/** Reads the journal to its end; a controller that went away is waited for, and the reading goes on where it was. */
async function watch(client: Client, rollout: Rollout, renderer: Renderer): Promise<Finished> {
  let position = 0;
  const read = async (): Promise<Finished> => {
    for await (const entry of client.journal(rollout.id, position)) {
      position = entry.seq;
      renderer.entry(entry);
      if (entry.event === 'rollout-finished') return entry;
    }
    throw lost(rollout);
  };
  return await pRetry(read, {
    ...RETURNS,
    onFailedAttempt: ({ attemptNumber }) => {
      if (attemptNumber === 1) renderer.note('the controller went away; waiting for it to come back');
    },
  }).catch((error: unknown) => {
    throw error instanceof UnideployError ? lost(rollout) : error;
  });
}

function toResult(rollout: Rollout, { verdict, ms, reason }: Finished): Result {
  const reached = verdict === 'succeeded' ? goal(rollout) : rollout.from;
  const { service, id } = rollout;
  return {
    result: verdict,
    exitCode: EXIT[verdict],
    service,
    rollout: id,
    revision: reached.revision,
    ms,
    error: reason,
  };
}

function lost({ id }: Rollout): UnideployError {
  const message = `the controller went away during rollout ${id}`;
  return new UnideployError(
    'UD_CONTROLLER_LOST',
    message,
    'start it again (unideploy serve): it finishes the rollout',
  );
}
