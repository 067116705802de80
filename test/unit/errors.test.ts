import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { ERROR_CODES, fromReport, report, UnideployError } from '../../src/errors.ts';

describe('error codes', () => {
  it('are documented, all of them and no other, each with its exit code', () => {
    const text = readFileSync(new URL('../../docs/errors.md', import.meta.url), 'utf8');
    const documented = [...text.matchAll(/^\| `(UD_[A-Z_]+)` \| (\d+) \|/gm)].map(([, code, exit]) => [
      code,
      Number(exit),
    ]);
    expect(Object.fromEntries(documented)).toEqual(ERROR_CODES);
    expect(documented).toHaveLength(Object.keys(ERROR_CODES).length);
  });

  it('survive the way from the controller to the command line', () => {
    const error = new UnideployError('UD_LOCKED', 'busy', 'wait');
    expect(fromReport(report(error)).toJSON()).toEqual({ code: 'UD_LOCKED', message: 'busy', next: 'wait' });
    expect(report(new Error('oops')).code).toBe('UD_INTERNAL');
  });
});
