import type { Ordered } from '../daemon/messages.ts';
import type { JournalEntry } from '../domain/journal.ts';
import type { Rollout, Verdict } from '../domain/rollout.ts';
import type { Standing } from '../domain/standing.ts';
import { ERROR_CODES, type ErrorReport, exitCodeOf, report, UnideployError } from '../errors.ts';
import type { Interruption } from './interruption.ts';
import type { Result } from './render/renderer.ts';
import { standsAt } from './render/standing.ts';
import { seconds } from './render/words.ts';

/** The exit code of each verdict; docs/ci.md has the whole list. */
const EXIT: Record<Verdict, number> = {
  succeeded: 0,
  'rolled-back': 3,
  aborted: 3,
  failed: 4,
  superseded: 4,
};

/** @param signalled the exit code of a command that has been told to end */
export function toResult(
  rollout: Rollout,
  { verdict, ms, reason }: Extract<JournalEntry, { event: 'rollout-finished' }>,
  signalled: number | null,
): Result {
  const { revision } = verdict === 'succeeded' ? rollout.to : rollout.from;
  return {
    ...about(rollout),
    result: verdict,
    exitCode: signalled ?? EXIT[verdict],
    revision,
    ms,
    error: reason,
  };
}

export function unchanged({ service, revision }: { service: string; revision: number | null }): Result {
  return { result: 'unchanged', exitCode: 0, service, rollout: null, revision, ms: 0, error: null };
}

/**
 * The rollout that somebody's word was for.
 * @throws UD_NOTHING_OPEN
 */
export function neededRollout(service: string, { rollout }: Ordered): Rollout {
  if (rollout) return rollout;
  throw new UnideployError(
    'UD_NOTHING_OPEN',
    `no rollout of ${service} is under way`,
    `see unideploy history --service ${service}`,
  );
}

/** It stands still because this command said so. */
export function pausedByUs(rollout: Rollout): Result {
  const { revision } = rollout.from;
  const ms = Date.now() - rollout.startedAt;
  return { ...about(rollout), result: 'paused', exitCode: 0, revision, ms, error: null };
}

/** The rollout waits for a person, and the command does not. */
export function paused(rollout: Rollout, standing: Standing): Result {
  const { id, service } = rollout;
  const verb = standing.pausedBy === null ? 'promote' : 'resume';
  return goesOn(rollout, 'paused', {
    code: 'UD_PAUSED',
    message: `rollout ${id} of ${service} is ${standsAt(standing)}`,
    next: `unideploy ${verb} --service ${service}, or unideploy abort --service ${service}`,
  });
}

export function timedOut(rollout: Rollout, timeout: number): Result {
  const { id, service } = rollout;
  return goesOn(rollout, 'timed-out', {
    code: 'UD_TIMED_OUT',
    message: `rollout ${id} of ${service} has not ended within ${seconds(timeout)}, and goes on`,
    next: `follow it: unideploy wait ${id} --service ${service}`,
  });
}

/** @param how what its first signal has done to the rollout */
export function interrupted(rollout: Rollout, interruption: Interruption, how: 'abort' | 'detach'): Result {
  const { id, service } = rollout;
  const result = goesOn(rollout, 'interrupted', {
    code: 'UD_INTERRUPTED',
    message: `rollout ${id} of ${service} goes ${how === 'abort' ? 'back' : 'on'} without this command`,
    next: `see it: unideploy status --service ${service}`,
  });
  return { ...result, exitCode: interruption.exitCode ?? result.exitCode };
}

/** The rollout may have ended, or go on: the command has lost sight of it. */
export function lost(rollout: Rollout, cause: unknown): Result {
  const error = cause instanceof UnideployError ? controllerLost(rollout) : cause;
  return goesOn(rollout, 'lost', report(error));
}

export function controllerLost({ id }: Rollout): UnideployError {
  return new UnideployError(
    'UD_CONTROLLER_LOST',
    `the controller went away during rollout ${id}`,
    'start it again (unideploy serve): it finishes the rollout',
  );
}

/** A command that has ended before a rollout of its own began. */
export function refused(service: string | null, cause: unknown): Result {
  const error = report(cause);
  return {
    result: REFUSALS[error.code] ?? 'refused',
    exitCode: exitCodeOf(cause),
    service,
    rollout: null,
    revision: null,
    ms: 0,
    error: { ...error, message: error.message.replaceAll('\n', ' ') },
  };
}

/** Errors after which it is not certain that none began. */
const REFUSALS: Partial<Record<ErrorReport['code'], Result['result']>> = {
  UD_INTERRUPTED: 'interrupted',
  UD_CONTROLLER_LOST: 'lost',
  UD_INTERNAL: 'lost',
};

function goesOn(rollout: Rollout, result: Result['result'], error: ErrorReport): Result {
  const ms = Date.now() - rollout.startedAt;
  const { revision } = rollout.from;
  return { ...about(rollout), result, exitCode: ERROR_CODES[error.code], revision, ms, error };
}

function about({ id, service }: Rollout): Pick<Result, 'service' | 'rollout'> {
  return { service, rollout: id };
}
