import { spawn } from 'node:child_process';
import { renameSync } from 'node:fs';
import { UnideployError } from '../../../errors.ts';
import { LIMITS } from '../limits.ts';
import { type Answers, Channel, Gone } from './channel.ts';
import { lastLine, lengthOf } from './last-line.ts';
import type { Estate, Heir, ServingCalls, SuccessorCalls } from './messages.ts';
import { type PlaneFiles, writePid } from './paths.ts';

export interface SuccessionOptions {
  /** main file of the new primary */
  entry: string;
  /** what it is called with */
  args: string[];
  files: PlaneFiles;
  /** what it may ask of this process, as long as this one lives */
  answers: Answers<ServingCalls>;
  /** false: this process has been told to end meanwhile, and leaves nothing */
  wanted: () => boolean;
}

/**
 * Starts a new primary with the listening sockets, and waits until its workers serve beside those here. Then it gets the
 * pid file and the well-known socket; from that moment it is the data plane. If it does not come up it is ended, and
 * nothing has changed (UD_PROXY_FAILED, with what it said last).
 */
export async function startSuccessor(
  { entry, args, files, answers, wanted }: SuccessionOptions,
  estate: Estate,
  sockets: number[],
): Promise<Heir> {
  const said = await lengthOf(files.log);
  const child = spawn(process.execPath, [entry, ...args], {
    cwd: '/',
    detached: true,
    // the sockets from FIRST_SOCKET on
    stdio: ['ignore', 'inherit', 'inherit', 'ipc', ...sockets],
  });
  const channel = new Channel<SuccessorCalls>(child, answers);
  try {
    const heir = await Promise.race([channel.call('inherit', [estate]), late()]);
    if (!wanted()) throw new Error('this one is ending');
    // at once: being told to end must come before this, or after it
    writePid(files, heir.pid);
    renameSync(heir.socket, files.socket);
    return heir;
  } catch (error) {
    child.kill('SIGKILL');
    await channel.closed;
    const cause = error instanceof Gone ? 'it ended' : (error as Error).message;
    throw new UnideployError(
      'UD_PROXY_FAILED',
      `the new data plane does not come up, the old one goes on: ${(await lastLine(files.log, said)) ?? cause}`,
      `its log is ${files.log}`,
      { cause: error },
    );
  }
}

async function late(): Promise<never> {
  await new Promise((resolve) => setTimeout(resolve, LIMITS.succession).unref());
  throw new Error(`it does not serve within ${LIMITS.succession / 1000} s`);
}
