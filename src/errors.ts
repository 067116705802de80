import { printable } from './printable.ts';
import { isPassing, systemReport } from './system-errors.ts';

/**
 * Every error a user can meet: a stable code, what happened, and what to do next. docs/errors.md lists the same
 * codes (a test keeps the two equal).
 */
export const ERROR_CODES = {
  UD_USAGE: 2,
  UD_CONFIG_INVALID: 2,
  UD_CONFIG_NOT_FOUND: 2,
  UD_FILE_NOT_FOUND: 2,
  UD_FILE_EXISTS: 2,
  UD_STATE_PATH: 2,
  UD_REQUEST: 2,
  UD_UNKNOWN_SERVICE: 2,
  UD_UNKNOWN_REVISION: 2,
  UD_UNKNOWN_INSTANCE: 2,
  UD_UNKNOWN_VOLUME: 2,
  UD_UNKNOWN_SNAPSHOT: 2,
  UD_UNKNOWN_IMAGE: 2,
  UD_UNKNOWN_COPY: 2,
  UD_STRATEGY: 2,
  UD_IMAGE_REFUSED: 2,
  UD_NOTHING_OPEN: 2,
  UD_PROMOTE_REFUSED: 4,
  UD_HOOK_FAILED: 4,
  UD_ANALYSIS_FAILED: 4,
  UD_GATE_TIMEOUT: 4,
  UD_ABORTED: 4,
  UD_SUPERSEDED: 4,
  UD_TOOL_MISSING: 4,
  UD_BUILD_FAILED: 4,
  UD_ARTIFACT_CORRUPT: 4,
  UD_ARTIFACT_MISSING: 4,
  UD_ARTIFACT_IN_USE: 4,
  UD_CONTROLLER_NOT_RUNNING: 4,
  UD_CONTROLLER_LOST: 4,
  UD_PORT_IN_USE: 4,
  UD_PROXY_FAILED: 4,
  UD_TABLE_REFUSED: 4,
  UD_TLS: 4,
  UD_UNAUTHORIZED: 4,
  UD_FORBIDDEN: 4,
  UD_RATE_LIMITED: 4,
  UD_GUEST_START: 4,
  UD_GUEST_UNHEALTHY: 4,
  UD_ACCEL: 4,
  UD_QMP: 4,
  UD_SAVED_STATE: 4,
  UD_TEMPLATE: 4,
  UD_SNAPSHOT_REFUSED: 4,
  UD_VOLUME_ATTACH: 4,
  UD_VOLUME_UNPLUG: 4,
  UD_VOLUME_UNVERIFIED: 4,
  UD_DATA_IN_USE: 4,
  UD_DATA_DAMAGED: 4,
  UD_COPY_FAILED: 4,
  UD_DEADLINE: 4,
  UD_DISK_FULL: 4,
  UD_DISK_READ_ONLY: 4,
  UD_DISK_FAILED: 4,
  UD_FILES_EXHAUSTED: 4,
  UD_FILE_DENIED: 4,
  UD_STATE_DAMAGED: 4,
  UD_INTERNAL: 4,
  UD_CONTROLLER_RUNNING: 5,
  UD_FENCED: 5,
  UD_STATE_BUSY: 5,
  UD_LOCKED: 5,
  UD_REVISION_CHANGED: 5,
  UD_PAUSED: 6,
  UD_TIMED_OUT: 7,
  UD_INTERRUPTED: 130,
} as const;

export type ErrorCode = keyof typeof ERROR_CODES;

/** An error meant for a person: `message` is the cause in one line that is safe to show, `next` what to do about it. */
export class UnideployError extends Error {
  readonly code: ErrorCode;
  readonly next: string;

  constructor(code: ErrorCode, message: string, next: string, options?: ErrorOptions) {
    super(printable(message), options);
    this.name = 'UnideployError';
    this.code = code;
    this.next = printable(next);
  }

  /** The process exit code that stands for this error. */
  get exitCode(): number {
    return ERROR_CODES[this.code];
  }

  toJSON(): ErrorReport {
    return { code: this.code, message: this.message, next: this.next };
  }
}

/** The form an error takes in the journal, in JSON output and between processes. */
export interface ErrorReport {
  code: ErrorCode;
  message: string;
  next: string;
}

/**
 * The report of anything thrown; what is neither ours nor the system's is a bug and says so. Of what a host in trouble has
 * caused (a full disk, no more descriptors) the cause is told, for that is what to mend.
 */
export function report(error: unknown): ErrorReport {
  const system = systemReport(error instanceof UnideployError ? error.cause : error);
  if (error instanceof UnideployError) return system && isPassing(system.code) ? system : error.toJSON();
  if (system) return system;
  const message = error instanceof Error ? error.message : String(error);
  return {
    code: 'UD_INTERNAL',
    message: printable(message),
    next: 'this is a bug: please report it with the controller log',
  };
}

export function fromReport({ code, message, next }: ErrorReport): UnideployError {
  return new UnideployError(Object.hasOwn(ERROR_CODES, code) ? code : 'UD_INTERNAL', message, next);
}

export function exitCodeOf(error: unknown): number {
  const { code } = report(error);
  return error instanceof UnideployError && error.code === code ? error.exitCode : ERROR_CODES[code];
}

/** Whether the host is in trouble (a full disk, say): the same may succeed when it is well again. */
export function isHostTrouble(error: unknown): boolean {
  return isPassing(report(error).code);
}
