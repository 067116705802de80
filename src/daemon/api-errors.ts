import { randomUUID } from 'node:crypto';
import type { FastifyError, FastifyInstance } from 'fastify';
import { type ErrorCode, type ErrorReport, report, UnideployError } from '../errors.ts';

const STATUS: Partial<Record<ErrorCode, number>> = {
  UD_UNAUTHORIZED: 401,
  UD_FORBIDDEN: 403,
  UD_RATE_LIMITED: 429,
};

export interface Discretion {
  /** where what clients are not told is told */
  log: (line: string) => void;
  /** path of the state; null: whoever asks has it before him */
  hidden: string | null;
}

/**
 * Answers errors as `{error: {code, message, next}}`. A client elsewhere learns neither where things are here nor what
 * became of a bug: that is in the log, under a word that the answer names.
 */
export function answerErrors(api: FastifyInstance, discretion: Discretion): void {
  api.setErrorHandler((error, _request, reply) => {
    const { statusCode = 500, message } = error as FastifyError;
    if (!(error instanceof UnideployError) && statusCode >= 400 && statusCode < 500) {
      // The server's own refusals: a body that is too large, of another type than JSON, or none.
      return reply.code(statusCode).send({ error: notUnderstood(message).toJSON() });
    }
    const told = toldOf(error, discretion);
    const status = error instanceof UnideployError ? (STATUS[told.code] ?? 422) : 500;
    return reply.code(status).send({ error: told });
  });
}

/** What a client is told of an error. */
export function toldOf(error: unknown, { log, hidden }: Discretion): ErrorReport {
  const told = report(error);
  if (error instanceof UnideployError) {
    const discreet = (text: string) => (hidden === null ? text : text.replaceAll(hidden, '<state>'));
    return { code: told.code, message: discreet(told.message), next: discreet(told.next) };
  }
  const word = randomUUID().slice(0, 8);
  log(`error ${word}: ${(error as Error).stack ?? String(error)}`);
  const vague = `something is wrong inside the controller; its log tells, under ${word}`;
  return hidden === null ? told : { ...told, message: vague };
}

/** Of what no client of this version sends. */
export function notUnderstood(message: string): UnideployError {
  return new UnideployError('UD_REQUEST', message, 'use the unideploy command of the same version');
}
