import { chmod, mkdir, stat } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join, resolve } from 'node:path';
import { isHostTrouble, UnideployError } from '../errors.ts';

/** QEMU's sockets are the longest names below the state: `/run/<instance>/own/debug`; a unix address has 107 bytes. */
const LONGEST_ROOT = 60;

/** Where a controller keeps what outlives it. */
export interface StatePaths {
  root: string;
  /** SQLite: services, revisions, rollouts, journal */
  store: string;
  /** the last good copy of it */
  copy: string;
  /** what services and revisions are, in JSON, to rebuild it from */
  records: string;
  /** what time it is for open rollouts */
  clock: string;
  /** held by a controller of this state for as long as it lives */
  lock: string;
  /** who has the state, and who had it: a file for each token */
  lease: string;
  /** the API's unix socket, for its user only */
  socket: string;
  log: string;
  artifacts: string;
  /** what the last builds that were begun on this machine have said */
  builds: string;
  /** of whole instances */
  snapshots: string;
  /** copies of data volumes */
  dataCopies: string;
  /** a file for each token of the remote API */
  tokens: string;
  /** the name of the data plane's engine; missing: embedded */
  proxyEngine: string;
  /** where Prometheus may read the figures; missing: nowhere */
  metricsAddress: string;
}

/**
 * @param root from `--state` or UNIDEPLOY_STATE; else the user's state folder (XDG base directory specification)
 * @throws UD_STATE_PATH when no unix socket would fit below it
 */
export function statePaths(root = process.env.UNIDEPLOY_STATE): StatePaths {
  const base = resolve(
    root ?? join(process.env.XDG_STATE_HOME ?? join(homedir(), '.local', 'state'), 'unideploy'),
  );
  if (Buffer.byteLength(base) > LONGEST_ROOT) {
    const message = `the state folder's path is longer than ${LONGEST_ROOT} bytes, too long for unix sockets: ${base}`;
    throw new UnideployError(
      'UD_STATE_PATH',
      message,
      'choose a shorter one with --state or UNIDEPLOY_STATE',
    );
  }
  return {
    root: base,
    store: join(base, 'state.db'),
    copy: join(base, 'state.db.good'),
    records: join(base, 'records'),
    clock: join(base, 'clock'),
    lock: join(base, 'controller.lock'),
    lease: join(base, 'lease'),
    socket: join(base, 'api.sock'),
    log: join(base, 'controller.log'),
    artifacts: join(base, 'artifacts'),
    builds: join(base, 'builds'),
    snapshots: join(base, 'snapshots'),
    dataCopies: join(base, 'copies'),
    tokens: join(base, 'tokens'),
    proxyEngine: join(base, 'proxy-engine'),
    metricsAddress: join(base, 'metrics-address'),
  };
}

/** Makes the state folder, for its user only. @throws UD_STATE_PATH; UD_DISK_FULL and the like */
export async function makeStateFolder({ root }: StatePaths): Promise<void> {
  const make = async () => {
    await mkdir(root, { recursive: true, mode: 0o700 });
    // Also one that was there: what is in it relies on nobody else's coming in.
    if (((await stat(root)).mode & 0o077) !== 0) await chmod(root, 0o700);
  };
  await make().catch((error: unknown) => {
    if (isHostTrouble(error)) throw error;
    const message = `the state folder ${root} cannot be made: ${(error as Error).message}`;
    throw new UnideployError('UD_STATE_PATH', message, 'choose another with --state or UNIDEPLOY_STATE', {
      cause: error,
    });
  });
}
