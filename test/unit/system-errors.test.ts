import { describe, expect, it } from 'vitest';
import { exitCodeOf, isHostTrouble, report, UnideployError } from '../../src/errors.ts';

const saying = (code: string) => Object.assign(new Error(`${code}: it did not work`), { code });

describe('an error of the system', () => {
  it.each([
    ['ENOSPC', 'UD_DISK_FULL', true],
    ['EDQUOT', 'UD_DISK_FULL', true],
    ['SQLITE_FULL', 'UD_DISK_FULL', true],
    ['EROFS', 'UD_DISK_READ_ONLY', true],
    ['SQLITE_READONLY_DBMOVED', 'UD_DISK_READ_ONLY', true],
    ['EMFILE', 'UD_FILES_EXHAUSTED', true],
    ['ENFILE', 'UD_FILES_EXHAUSTED', true],
    ['EIO', 'UD_DISK_FAILED', true],
    ['SQLITE_IOERR_WRITE', 'UD_DISK_FAILED', true],
    ['EACCES', 'UD_FILE_DENIED', false],
    ['SQLITE_CANTOPEN', 'UD_FILE_DENIED', false],
    ['SQLITE_CORRUPT', 'UD_STATE_DAMAGED', false],
    ['SQLITE_NOTADB', 'UD_STATE_DAMAGED', false],
    ['SQLITE_IOERR_SHORT_READ', 'UD_STATE_DAMAGED', false],
    ['SQLITE_CONSTRAINT', 'UD_INTERNAL', false],
  ] as const)('%s is %s to a user, and passes: %s', (said, code, passes) => {
    const error = saying(said);
    expect(report(error)).toMatchObject({ code, next: expect.stringMatching(/.{10}/) });
    expect(report(error).message).toContain(said);
    expect(isHostTrouble(error)).toBe(passes);
    expect(exitCodeOf(error)).toBe(4);
  });

  it('is known by its cause, and by the words of those who keep it to themselves', () => {
    const unstarted = new TypeError('subprocess.stdio is not iterable');
    expect(report(unstarted).code).toBe('UD_FILES_EXHAUSTED');
    expect(report(new Error('fetch failed', { cause: saying('EMFILE') })).code).toBe('UD_FILES_EXHAUSTED');
    const wrapped = new UnideployError('UD_PROXY_FAILED', 'no answer', 'look', { cause: saying('EMFILE') });
    expect(report(wrapped).code).toBe('UD_FILES_EXHAUSTED');
    const denied = new UnideployError('UD_TLS', 'no key', 'look', { cause: saying('EACCES') });
    expect(report(denied).code).toBe('UD_TLS');
    const unopened = 'ConnectionFailed("Unable to open connection to local database /a/state.db: 14")';
    expect(report(new Error(unopened)).code).toBe('UD_FILE_DENIED');
  });
});
