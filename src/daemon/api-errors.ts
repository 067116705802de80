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
export function answerErrors(api: FastifyInstance, { log, hidden }: Discretion): void {
  const discreet = (text: string) => (hidden === null ? text : text.replaceAll(hidden, '<state>'));
  api.setErrorHandler((error, _request, reply) => {
    if (error instanceof UnideployError) {
      const { code, message, next } = report(error);
      const told: ErrorReport = { code, message: discreet(message), next: discreet(next) };
      return reply.code(STATUS[code] ?? 422).send({ error: told });
    }
    const { statusCode = 500, message } = error as FastifyError;
    if (statusCode >= 400 && statusCode < 500) {
      // The server's own refusals: a body that is too large, of another type than JSON, or none.
      return reply.code(statusCode).send({ error: notUnderstood(message).toJSON() });
    }
    const word = randomUUID().slice(0, 8);
    log(`error ${word}: ${(error as Error).stack ?? String(error)}`);
    const told = report(error);
    const vague = `something is wrong inside the controller; its log tells, under ${word}`;
    return reply.code(500).send({ error: hidden === null ? told : { ...told, message: vague } });
  });
}

/** Of what no client of this version sends. */
export function notUnderstood(message: string): UnideployError {
  return new UnideployError('UD_REQUEST', message, 'use the unideploy command of the same version');
}
