import pRetry, { type Options } from 'p-retry';
import type { Rollout } from '../domain/rollout.ts';
import { needsPerson, type Standing, standing } from '../domain/standing.ts';
import { report, UnideployError } from '../errors.ts';
import type { Move } from './move.ts';
import type { Result } from './render/renderer.ts';
import { controllerLost, interrupted, lost, paused, timedOut, toResult } from './results.ts';

/** How long a controller that went away in the middle of a rollout may take to come back. */
export const RETURNS: Options = { retries: 20, minTimeout: 500, maxTimeout: 2000 };

/** Where the following of a rollout begins: after an entry of its journal, and at what it stood then. */
interface Beginning {
  after: number;
  standing: Standing;
}

const FIRST: Beginning = { after: 0, standing: { pausedBy: null, gate: null } };

/** Shows a rollout to its end, or until the command is to let go of it, and says how that went. */
export async function follow(move: Move, rollout: Rollout, from = FIRST): Promise<Result> {
  const { context, interruption, patience } = move;
  const letGo = new AbortController();
  let left: Result | null = null;
  const leave = (result: Result) => {
    left ??= result;
    letGo.abort();
  };
  const late = () => leave(timedOut(rollout, patience.timeout ?? 0));
  const timer = patience.timeout === null ? undefined : setTimeout(late, patience.timeout);
  const detach = () => leave(interrupted(rollout, interruption, patience.onInterrupt));
  const heard = () => {
    clearTimeout(timer);
    if (patience.onInterrupt === 'detach') return detach();
    context.renderer.note(`${interruption.signal}: aborting rollout ${rollout.id}; once more to leave it`);
    void abort(move, rollout, letGo.signal).catch((error: unknown) => {
      context.renderer.note(`it could not be aborted: ${report(error).message}`);
      detach();
    });
  };
  interruption.first.addEventListener('abort', heard);
  interruption.second.addEventListener('abort', detach);
  try {
    if (interruption.first.aborted) heard();
    return await watch(move, rollout, from, letGo.signal);
  } catch (error) {
    return left ?? lost(rollout, error);
  } finally {
    clearTimeout(timer);
    interruption.first.removeEventListener('abort', heard);
    interruption.second.removeEventListener('abort', detach);
  }
}

/** Reads the journal to its end; a controller that went away is waited for, and the reading goes on where it was. */
async function watch(move: Move, rollout: Rollout, from: Beginning, signal: AbortSignal): Promise<Result> {
  const { client, context, interruption, patience } = move;
  const { renderer } = context;
  let { after, standing: stands } = from;
  const stops = async () =>
    patience.onGate === 'exit' &&
    !interruption.first.aborted &&
    needsPerson(stands) &&
    (await stillNeedsPerson(move, rollout));
  const read = async (): Promise<Result> => {
    if (await stops()) return paused(rollout, stands);
    for await (const entry of client.journal(rollout.id, after, signal)) {
      after = entry.seq;
      stands = standing([entry], stands);
      renderer.entry(entry);
      if (entry.event === 'rollout-finished') return toResult(rollout, entry, interruption.exitCode);
      if (await stops()) return paused(rollout, stands);
    }
    throw controllerLost(rollout);
  };
  return await pRetry(read, {
    ...RETURNS,
    signal,
    onFailedAttempt: ({ attemptNumber }) => {
      if (attemptNumber === 1 && !signal.aborted)
        renderer.note('the controller went away; waiting for it to come back');
    },
  });
}

/** An entry that is read late, after the controller was away, say, may be of what has been decided meanwhile. */
async function stillNeedsPerson({ client }: Move, { id, service }: Rollout): Promise<boolean> {
  try {
    const { open, standing: stands } = await client.service(service);
    return open?.id === id && stands !== null && needsPerson(stands);
  } catch (error) {
    if (error instanceof UnideployError && error.code === 'UD_UNKNOWN_SERVICE') return false;
    throw error;
  }
}

async function abort(
  { client, context }: Move,
  { id, service }: Rollout,
  signal: AbortSignal,
): Promise<void> {
  await pRetry(() => client.abort(service, id, context.performer), { ...RETURNS, signal });
}
