import { statSync } from 'node:fs';
import { type Dispatcher, Pool } from 'undici';
import { UnideployError } from '../errors.ts';
import type { StatePaths } from './paths.ts';

/** Milliseconds until an answer begins; a console or a journal may be longer silent. */
export const ANSWER_WITHIN = 60_000;
/** Milliseconds between two looks whether another controller has taken the socket's name. */
const LOOK_EVERY = 1_000;

export type Asking = Omit<Dispatcher.RequestOptions, 'origin' | 'headers'> & {
  headers?: Record<string, string>;
};

/** The connections of a client to its controller; whoever cannot be reached is an UnideployError. */
export interface Link {
  request(options: Asking): Promise<Dispatcher.ResponseData>;
  close(): Promise<void>;
}

/** A controller on another machine. */
export interface Elsewhere {
  /** `https://host:port` */
  origin: string;
  token: string;
  /** PEM; null: what this system trusts */
  ca: string | null;
}

/** To the controller that has this state now. */
export function localLink({ socket, root }: Pick<StatePaths, 'socket' | 'root'>): Link {
  const connections = () =>
    new Pool('http://controller', { socketPath: socket, headersTimeout: ANSWER_WITHIN, bodyTimeout: 0 });
  let pool = connections();
  let inode = inodeOf(socket);
  /** A controller that was stopped leaves its clients waiting: what they asked ends here once another one has its place. */
  const leaveReplaced = () => {
    const now = inodeOf(socket);
    if (now === null || now === inode) return;
    const before = pool;
    if (inode !== null) before.destroy(new Error('another controller has taken over')).catch(() => {});
    pool = inode === null ? before : connections();
    inode = now;
  };
  const looking = setInterval(leaveReplaced, LOOK_EVERY).unref();
  return {
    request: async (options) => {
      leaveReplaced();
      return await pool.request(options).catch((error: unknown) => {
        throw unreachable(error, root);
      });
    },
    close: async () => {
      clearInterval(looking);
      await pool.destroy();
    },
  };
}

export function remoteLink({ origin, token, ca }: Elsewhere): Link {
  const pool = new Pool(origin, {
    ...(ca !== null && { connect: { ca } }),
    headersTimeout: ANSWER_WITHIN,
    bodyTimeout: 0,
  });
  return {
    request: ({ headers, ...options }) =>
      pool
        .request({ ...options, headers: { ...headers, authorization: `Bearer ${token}` } })
        .catch((error: unknown) => {
          throw unreachableAt(origin, error);
        }),
    close: () => pool.destroy(),
  };
}

/** Null where there is none, or none can be looked at: whoever connects to it is told why. */
function inodeOf(path: string): number | null {
  try {
    return statSync(path).ino;
  } catch {
    return null;
  }
}

function unreachableAt(origin: string, cause: unknown): UnideployError {
  const { code = '', message } = cause as { code?: string; message: string };
  if (/CERT|SELF_SIGNED|ERR_TLS|ISSUER|ERR_SSL|EPROTO/.test(code))
    return new UnideployError(
      'UD_TLS',
      `the certificate of ${origin} is not trusted: ${message}`,
      'name the certificate that it is signed by with --api-ca, and the host as it is called there',
      { cause },
    );
  if (['ENOTFOUND', 'EAI_AGAIN', 'ECONNREFUSED', 'EHOSTUNREACH', 'UND_ERR_CONNECT_TIMEOUT'].includes(code))
    return new UnideployError(
      'UD_CONTROLLER_NOT_RUNNING',
      `no controller answers at ${origin}: ${message}`,
      'see that it runs with --api-listen, and that it can be reached from here',
      { cause },
    );
  const next = 'see that it runs: it goes on where it was; then look at unideploy status';
  return new UnideployError('UD_CONTROLLER_LOST', `the controller went away: ${message}`, next, { cause });
}

function unreachable(cause: unknown, root: string): UnideployError {
  const { code = '' } = cause as { code?: string };
  if (code === 'ENOENT' || code === 'ENOTDIR' || code === 'ECONNREFUSED') {
    const message = `no controller runs on ${root}`;
    return new UnideployError(
      'UD_CONTROLLER_NOT_RUNNING',
      message,
      'start it: unideploy up, or unideploy serve',
      { cause },
    );
  }
  const message = `the controller went away: ${(cause as Error).message}`;
  const next = 'start it again (unideploy serve): it goes on where it was; then look at unideploy status';
  return new UnideployError('UD_CONTROLLER_LOST', message, next, { cause });
}
