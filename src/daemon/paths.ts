import { homedir } from 'node:os';
import { join, resolve } from 'node:path';

/** Where a controller keeps what outlives it. */
export interface StatePaths {
  root: string;
  /** SQLite: services, revisions, rollouts, journal */
  store: string;
  /** held by the one controller of this state for as long as it lives */
  lock: string;
  /** the API's unix socket, for its user only */
  socket: string;
  log: string;
  artifacts: string;
}

/** @param root from `--state` or UNIDEPLOY_STATE; else the user's state folder (XDG base directory specification) */
export function statePaths(root = process.env.UNIDEPLOY_STATE): StatePaths {
  const base = resolve(root ?? join(process.env.XDG_STATE_HOME ?? join(homedir(), '.local', 'state'), 'unideploy'));
  return {
    root: base,
    store: join(base, 'state.db'),
    lock: join(base, 'controller.lock'),
    socket: join(base, 'api.sock'),
    log: join(base, 'controller.log'),
    artifacts: join(base, 'artifacts'),
  };
}
