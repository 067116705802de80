import type { ErrorCode, ErrorReport } from './errors.ts';

/** What the system, or SQLite, says of one trouble of this host, and what that means to a person. */
interface Trouble {
  /** the beginnings of the codes: SQLite has longer ones for the details */
  said: string[];
  code: ErrorCode;
  cause: string;
  next: string;
}

const TROUBLES: readonly Trouble[] = [
  {
    said: ['SQLITE_CORRUPT', 'SQLITE_NOTADB', 'SQLITE_IOERR_SHORT_READ'],
    code: 'UD_STATE_DAMAGED',
    cause: 'the database of the state is damaged',
    next: 'start the controller again: it goes on from the last good copy, or says how to rebuild the state',
  },
  {
    said: ['ENOSPC', 'EDQUOT', 'SQLITE_FULL'],
    code: 'UD_DISK_FULL',
    cause: 'the disk has no room left, or the quota is used up',
    next: 'make room on the disk of the state folder (df, df -i): what stood still goes on by itself',
  },
  {
    said: ['EROFS', 'SQLITE_READONLY'],
    code: 'UD_DISK_READ_ONLY',
    cause: 'the disk cannot be written, it is read-only',
    next: 'see why it is (dmesg, mount), and make it writable: what stood still goes on by itself',
  },
  {
    said: ['EMFILE', 'ENFILE'],
    code: 'UD_FILES_EXHAUSTED',
    cause: 'the process, or the system, may not open more files',
    next: 'raise the limit of open files (ulimit -n, LimitNOFILE=) and start the controller again; what serves goes on',
  },
  {
    said: ['EIO', 'SQLITE_IOERR'],
    code: 'UD_DISK_FAILED',
    cause: 'the disk failed to read or to write',
    next: 'see what the kernel says of it (dmesg): what stood still goes on by itself when the disk works again',
  },
  {
    said: ['EACCES', 'EPERM', 'SQLITE_PERM', 'SQLITE_AUTH', 'SQLITE_CANTOPEN'],
    code: 'UD_FILE_DENIED',
    cause: 'this user may not open a file',
    next: 'give the state folder and all in it to the user that runs unideploy, or run it as the one that owns them',
  },
];

/** Troubles that pass when the host is well again: whoever meets one stands still and tries again. */
const PASSING: ReadonlySet<ErrorCode> = new Set([
  'UD_DISK_FULL',
  'UD_DISK_READ_ONLY',
  'UD_FILES_EXHAUSTED',
  'UD_DISK_FAILED',
]);

/** What an error of the system, or one that was caused by such an error, means; null: it is another kind of error. */
export function systemReport(error: unknown): ErrorReport | null {
  for (let each = error; each instanceof Error; each = each.cause) {
    const said = codeOf(each);
    const trouble = TROUBLES.find((known) => known.said.some((code) => said.startsWith(code)));
    if (trouble) {
      const { code, cause, next } = trouble;
      return { code, message: `${cause}: ${each.message}`, next };
    }
  }
  return null;
}

/** Whether this passes when the host is well again: no room, no files, a disk that cannot be written. */
export function isPassing(code: ErrorCode): boolean {
  return PASSING.has(code);
}

function codeOf(error: Error): string {
  // A local database that cannot be opened has its number only in the text: 14 is SQLITE_CANTOPEN.
  if (/ConnectionFailed\(.*: 14"?\)/.test(error.message)) return 'SQLITE_CANTOPEN';
  // What execa 9 says of a process that could not be started for want of descriptors.
  if (error.message === 'subprocess.stdio is not iterable') return 'EMFILE';
  const { code } = error as { code?: unknown };
  return typeof code === 'string' ? code : '';
}
