import { existsSync } from 'node:fs';
import type { Fence } from '../../domain/fence.ts';
import { ownFolder } from '../../marks.ts';
import type { QmpSession } from './qmp/session.ts';
import type { RunDirectory } from './run-directory.ts';

/**
 * To be called right before each step that changes a machine or its run directory, after the last wait: takes the run
 * directory for the fence's controller, or throws UD_FENCED where a newer one has it.
 */
export type ExpectCommand = () => void;

export function commandOf(fence: Fence, { path }: RunDirectory): ExpectCommand {
  return () => {
    fence.check();
    // One that is not made yet, or gone, is nobody's.
    if (existsSync(path)) ownFolder(path, fence);
  };
}

/** The session, each command of which asks first. */
export function commanded(session: QmpSession, expectCommand: ExpectCommand): QmpSession {
  return {
    get open() {
      return session.open;
    },
    async execute(command, args, deadlineMs) {
      expectCommand();
      return session.execute(command, args, deadlineMs);
    },
    waitFor: (wanted, deadlineMs) => session.waitFor(wanted, deadlineMs),
    onEvent: (listener) => session.onEvent(listener),
    onClose: (listener) => session.onClose(listener),
    close: () => session.close(),
  };
}
