import { createReadStream, createWriteStream } from 'node:fs';
import { chown, lstat, open, rm } from 'node:fs/promises';
import { connect, createServer, type Socket } from 'node:net';
import { pipeline } from 'node:stream/promises';
import type { User } from '../../confinement.ts';
import { UnideployError } from '../../errors.ts';
import { lastLines } from './console.ts';
import type { Machine } from './machine.ts';
import {
  cancelMigration,
  migrate,
  migrateIncoming,
  prepareMigration,
  queryMigration,
  stopGuest,
} from './qmp/commands.ts';
import type { AwaitedEvent, QmpSession } from './qmp/session.ts';
import { OUTGOING } from './run-directory.ts';
import { WRITTEN } from './run-files.ts';
import { until } from './wait.ts';

export interface SavedStateOptions {
  /** true: the guest's memory lies in a file that is kept with the state, and is no part of it */
  ramInFile: boolean;
  /** true: the guest goes on while its memory is saved, and stands still for the last of it alone */
  live?: boolean;
  /** milliseconds for all of it */
  deadlineMs: number;
  /** given up when it aborts */
  signal?: AbortSignal;
  /** called with the bytes that have been written or read so far */
  progress?: (bytes: number) => void;
}

/**
 * Stops a machine that runs, at once or at the end (`live`), and writes its state to a file, which is whole and on the disk when this resolves. The guest
 * stands still afterwards, whether it went well or not: `resumeGuest` lets it go on. It has to be the caller's, by
 * `machine.exclusively`.
 *
 * QEMU may write nothing outside of its own folder and start no program, so it hands the state over a socket.
 *
 * @param user whom its QEMU runs as
 * @throws UD_SAVED_STATE
 */
export async function saveState(
  machine: Machine,
  user: User | null,
  file: string,
  options: SavedStateOptions,
): Promise<void> {
  const session = await machine.connect();
  const { outgoing } = machine.directory;
  if (options.live !== true) await stopGuest(session);
  await prepareMigration(session, options.ramInFile);
  await rm(outgoing, { force: true });
  const server = createServer();
  const bounds = within(options);
  try {
    await new Promise<void>((resolve, reject) => server.once('error', reject).listen(outgoing, resolve));
    if (user !== null) await chown(outgoing, user.uid, user.uid);
    const taken = new Promise<Socket>((resolve) => server.once('connection', resolve));
    const ended = migrationEnd(session, options);
    machine.expectCommand();
    await withCancel(session, bounds, ended, async () => {
      await migrate(session, `unix:${OUTGOING}`);
      const socket = await Promise.race([taken, ended.event.then(() => null)]);
      if (socket !== null) await keep(socket, file, options, bounds);
    });
    await expectCompleted(session, machine, 'saved');
  } catch (error) {
    await rm(file, { force: true });
    throw savedStateError(machine, 'saved', error);
  } finally {
    server.close();
    await rm(outgoing, { force: true });
  }
}

/**
 * Gives a machine, which was started with `incoming`, its state. It stands still afterwards, as the one that was saved did:
 * `resumeGuest` lets it go on. A QEMU that cannot load the state ends.
 *
 * @throws UD_SAVED_STATE
 */
export async function loadState(machine: Machine, file: string, options: SavedStateOptions): Promise<void> {
  const session = await machine.connect();
  const { incoming } = machine.directory;
  const bounds = within(options);
  try {
    await prepareMigration(session, options.ramInFile);
    const ended = migrationEnd(session, options);
    await migrateIncoming(session, `unix:${WRITTEN.incoming}`);
    // No link to somebody else's socket: the folder is the guest's.
    if (!(await lstat(incoming)).isSocket()) throw new Error(`${incoming} is no socket`);
    const socket = connect(incoming);
    // QEMU hangs up when it has what it needs, and says by its event whether that was all of it.
    await pipeline(watched(createReadStream(file), options), socket, { signal: bounds }).catch((error) => {
      if (bounds.aborted) throw error;
    });
    await ended.event;
    await expectCompleted(session, machine, 'loaded');
  } catch (error) {
    throw savedStateError(machine, 'loaded', error, await lastWord(machine, session));
  } finally {
    await rm(incoming, { force: true });
  }
}

/** What QEMU wrote before it ended, when it did. */
async function lastWord(machine: Machine, session: QmpSession): Promise<string | undefined> {
  if (session.open) return undefined;
  const { log } = machine.directory;
  let line: string | undefined;
  // It hangs up before it has said why.
  await until(async () => {
    line = (await lastLines(log, 1))?.[0];
    return line !== undefined;
  }, 500);
  return line;
}

async function keep(
  socket: Socket,
  path: string,
  options: SavedStateOptions,
  signal: AbortSignal,
): Promise<void> {
  await pipeline(watched(socket, options), createWriteStream(path, { mode: 0o600 }), { signal });
  const file = await open(path, 'r+');
  await file.sync().finally(() => file.close());
}

function watched<T extends NodeJS.ReadableStream>(stream: T, { progress }: SavedStateOptions): T {
  let bytes = 0;
  if (progress)
    stream.on('data', (chunk: Buffer | string) => {
      bytes += chunk.length;
      progress(bytes);
    });
  return stream;
}

function within({ deadlineMs, signal }: SavedStateOptions): AbortSignal {
  const deadline = AbortSignal.timeout(deadlineMs);
  return signal === undefined ? deadline : AbortSignal.any([deadline, signal]);
}

const ENDS = new Set(['completed', 'failed', 'cancelled']);

function migrationEnd(session: QmpSession, { deadlineMs }: SavedStateOptions): AwaitedEvent {
  return session.waitFor(
    ({ name, data }) => name === 'MIGRATION' && ENDS.has(String(data.status)),
    deadlineMs,
  );
}

/** Runs the step until the migration has ended; one that is given up leaves no migration under way. */
async function withCancel(
  session: QmpSession,
  bounds: AbortSignal,
  ended: AwaitedEvent,
  step: () => Promise<void>,
): Promise<void> {
  try {
    await step();
    await ended.event;
  } catch (error) {
    if (bounds.aborted && session.open) {
      await cancelMigration(session);
      await ended.event.catch(() => {});
    } else ended.cancel();
    throw error;
  }
}

async function expectCompleted(session: QmpSession, machine: Machine, what: Verb): Promise<void> {
  const { status, reason } = await queryMigration(session);
  if (status !== 'completed') throw savedStateError(machine, what, new Error(`${status}: ${reason}`));
}

type Verb = 'saved' | 'loaded';

function savedStateError(machine: Machine, what: Verb, error: unknown, word?: string): UnideployError {
  if (error instanceof UnideployError && error.code !== 'UD_QMP') return error;
  const cause = word ?? (error instanceof Error ? error.message : String(error));
  return new UnideployError(
    'UD_SAVED_STATE',
    `the state of instance ${machine.spec.id} was not ${what}: ${cause}`,
    what === 'saved'
      ? 'look whether the disk of the state folder is full, and at the qemu.log of the instance'
      : 'the state belongs to one image, one shape of machine, one set of volumes and one QEMU: start without it',
    { cause: error },
  );
}
