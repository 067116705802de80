import type { ErrorReport } from '../../errors.ts';
import type { Result } from './renderer.ts';
import { seconds } from './words.ts';

/** How a command that ended without an error has left the service. */
export function summary({ result, service, revision, rollout, ms }: Result): string {
  const serving = revision === null ? `${service} serves nothing` : `${service} serves revision ${revision}`;
  switch (result) {
    case 'unchanged':
      return `no change: ${serving}`;
    case 'aborted':
    case 'rolled-back':
      return `done: rollout ${rollout} went back, ${serving}, after ${seconds(ms)}`;
    case 'paused':
      return `done: rollout ${rollout} of ${service} is paused`;
    default:
      return `done: ${serving}, after ${seconds(ms)}`;
  }
}

/** The error of a command that did not get what it was for, with what it has left; null when it did. */
export function failure({ result, service, revision, rollout, ms, error }: Result): ErrorReport | null {
  if (!error) return null;
  const serves = revision === null ? 'serves nothing' : `serves revision ${revision}`;
  switch (result) {
    case 'rolled-back':
    case 'aborted':
      return {
        ...error,
        message: `${result.replace('-', ' ')}, ${service} ${serves} again after ${seconds(ms)}: ${error.message}`,
      };
    case 'failed':
    case 'superseded':
      return {
        ...error,
        message: `rollout ${rollout} of ${service} ${result} after ${seconds(ms)}: ${error.message}`,
      };
    default:
      return error;
  }
}
