import { setTimeout as pause } from 'node:timers/promises';
import type { Fence } from '../domain/fence.ts';
import { LEASE, leaseState, nextToken } from '../domain/lease.ts';
import { UnideployError } from '../errors.ts';
import { type Held, LeaseFiles } from './lease-files.ts';
import { lockState } from './lock.ts';
import { monotonic } from './monotonic.ts';
import type { StatePaths } from './paths.ts';
import { identityOf, isGone } from './process-identity.ts';

/** The state folder is this process's, until `release` or until it is silent for too long and somebody comes. */
export interface HeldLease {
  fence: Fence;
  /** Those that had the lease before, and live: stopped, hung, or about to find out. Newest last. */
  late(): Held[];
  /** Gives it back: the next controller need not wait. */
  release(): void;
}

export interface LeaseOptions {
  log: (line: string) => void;
  /** Called at the first sign that another controller has taken over. What it does not end goes on to be refused. */
  onLost: (error: UnideployError) => void;
}

/** Milliseconds between two looks at a holder in doubt. */
const LOOK_EVERY = 100;

/**
 * Takes the lease of a state folder. A holder that has ended gives way at once, one that is silent for longer than the
 * lease as well, whether it lives or not; one in doubt is waited for until it renews or is too late.
 *
 * @throws UD_CONTROLLER_RUNNING when there is a holder that renews
 */
export async function takeLease(paths: StatePaths, options: LeaseOptions): Promise<HeldLease> {
  const files = new LeaseFiles(paths.lease);
  let lock = lockState(paths);
  let doubted: number | null = null;
  try {
    for (;;) {
      const last = files.all().at(-1) ?? null;
      // Only who has the lock begins with a first token: it keeps controllers out that know no leases, too.
      const state = last ? leaseState(last, monotonic(), isGone(last)) : lock ? 'free' : 'held';
      if (state === 'held') throw running(paths, last);
      if (state === 'free') {
        const own = { ...identityOf(process.pid), token: nextToken(last, Date.now()), until: end() };
        if (!files.claim(own)) continue;
        // A newcomer that was stopped before it claimed may find that its token has come and gone.
        if (files.all().at(-1)?.token !== own.token) files.forget(own.token);
        else return hold(files, own, last);
      }
      if (state === 'doubtful') await pause(LOOK_EVERY);
      if (last && state === 'doubtful' && doubted !== last.token) {
        options.log(
          `controller ${last.pid} has been silent for a while: waiting until it renews or is too late`,
        );
        doubted = last.token;
      }
    }
  } catch (error) {
    lock?.release();
    throw error;
  }

  function hold(leases: LeaseFiles, own: Held, before: Held | null): HeldLease {
    if (before && before.until > 0 && isGone(before) !== true)
      options.log(`controller ${before.pid} is silent: taken over from it, with token ${own.token}`);
    const late = () => leases.all().filter((each) => each.token < own.token && isGone(each) !== true);
    forgetEnded(leases, own.token);
    let isLost = false;
    const fence: Fence = {
      token: own.token,
      check() {
        if (!leases.isTaken(own.token + 1)) return;
        const error = lost(paths, own.token);
        if (!isLost) options.onLost(error);
        isLost = true;
        throw error;
      },
    };
    let troubled = false;
    const beat = () => {
      try {
        fence.check();
        leases.renew({ ...own, until: end() });
        lock ??= lockState(paths);
        troubled = false;
      } catch (error) {
        if (error instanceof UnideployError) return;
        // A full disk, say. Nobody else can write there either: the lease stays.
        if (!troubled) options.log(`the lease could not be renewed: ${(error as Error).message}`);
        troubled = true;
      }
    };
    const heart = setInterval(beat, LEASE.renewEvery).unref();
    return {
      fence,
      late,
      release() {
        clearInterval(heart);
        try {
          leases.renew({ ...own, until: 0 });
        } catch (error) {
          options.log(`the lease could not be given back: ${(error as Error).message}`);
        }
        lock?.release();
      },
    };
  }
}

/**
 * Takes the files of holders away that have ended, up to the first that lives: it looks for its successor's file, which
 * must not go before it.
 */
function forgetEnded(files: LeaseFiles, own: number): void {
  files.forgetHalves(own);
  for (const each of files.all()) {
    if (each.token >= own || isGone(each) !== true) return;
    files.forget(each.token);
  }
}

function end(): number {
  return monotonic() + LEASE.duration;
}

function running({ root }: StatePaths, holder: Held | null): UnideployError {
  const which = holder ? ` (process ${holder.pid})` : '';
  return new UnideployError(
    'UD_CONTROLLER_RUNNING',
    `another controller${which} already runs on ${root}`,
    'use that one, or give this one a state of its own with --state',
  );
}

function lost({ root }: StatePaths, token: number): UnideployError {
  return new UnideployError(
    'UD_FENCED',
    `this controller (process ${process.pid}, token ${token}) was silent for longer than ${LEASE.duration / 1000} s, and another one has taken over ${root}; it stops here and changes nothing more`,
    'nothing has to be done, the other one goes on: see unideploy status; what held this one up may be in the log of the system',
  );
}
