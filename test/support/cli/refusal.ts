import { expect } from 'vitest';
import { ERROR_CODES, type ErrorCode, type ErrorReport } from '../../../src/errors.ts';
import type { Outcome } from './workplace.ts';

/** Expects the one line on standard error that every refusal is, with its exit code, and takes it apart. */
export function refusal({ exitCode, stderr }: Outcome, code: ErrorCode): ErrorReport {
  const [, found, message = '', next = ''] =
    /^unideploy: (UD_[A-Z_]+): (.+)\. Next: (.+)$/.exec(stderr) ?? [];
  expect({ stderr, found, exitCode }).toEqual({ stderr, found: code, exitCode: ERROR_CODES[code] });
  return { code, message, next };
}

/** The same with `--json`: the last line of standard output says it, and standard error is empty. */
export function jsonRefusal({ exitCode, stderr, last }: Outcome, code: ErrorCode): ErrorReport {
  const { error } = last;
  expect({ stderr, code: error?.code, exitCode }).toEqual({ stderr: '', code, exitCode: ERROR_CODES[code] });
  if (!error?.message || !error.next) throw new Error(`a cause and a next step: ${JSON.stringify(error)}`);
  return error;
}
