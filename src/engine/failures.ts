import { type ErrorReport, UnideployError } from '../errors.ts';

/** Why a rollout turns back, and the instance at which it was seen, if there is one. */
export interface Failure {
  error: ErrorReport;
  instance: string | null;
}

/** @param how in what it was too slow */
export function tooLate(service: string, how: string, waitingFor: string): Failure {
  const waiting = waitingFor ? `, waiting for ${waitingFor}` : '';
  const next = `look at unideploy status --service ${service}, or raise rollout.deadline or rollout.progressDeadline`;
  const error = new UnideployError('UD_DEADLINE', `the rollout ${how}${waiting}`, next);
  return { error: error.toJSON(), instance: null };
}

export function inVain(attempt: string, times: number): UnideployError {
  const message = `${attempt} was done ${times} times and changed nothing`;
  return new UnideployError('UD_DEADLINE', message, 'look at the instance: unideploy status, unideploy logs');
}

export function aborted(by: string): Failure {
  const next = 'nothing: the service is as it was before; roll out again when you are ready';
  return { error: new UnideployError('UD_ABORTED', `${by} aborted it`, next).toJSON(), instance: null };
}

export function nobodyCame(gate: string, after: number): UnideployError {
  return new UnideployError(
    'UD_GATE_TIMEOUT',
    `nobody decided at the gate ${gate} within ${after / 1000} s`,
    'roll out again, and promote it in time, or raise rollout.gateTimeout',
  );
}
