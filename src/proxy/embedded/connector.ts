import type { Socket } from 'node:net';
import { buildConnector } from 'undici';
import { LIMITS } from './limits.ts';

/**
 * Connections to instances on which a failed write is not the end: an instance that answers 413 and closes while the
 * upload is still arriving resets the connection, and the next write fails before its answer has been read. What is
 * written after that goes nowhere; reading goes on to the answer, or to the reset.
 */
export function tolerantConnector(): buildConnector.connector {
  const connect = buildConnector({ timeout: LIMITS.connect });
  return (options, callback) =>
    connect(options, (...[error, socket]) => {
      if (error) callback(error, null);
      else callback(null, tolerant(socket));
    });
}

function tolerant<S extends Socket>(socket: S): S {
  const { _write, _writev } = socket;
  socket._write = (piece, encoding, done) => _write.call(socket, piece, encoding, unlessClosed(done));
  if (_writev) socket._writev = (pieces, done) => _writev.call(socket, pieces, unlessClosed(done));
  return socket;
}

type Done = (error?: Error | null) => void;

function unlessClosed(done: Done): Done {
  return (error) => {
    const { code } = (error ?? {}) as NodeJS.ErrnoException;
    if (code === 'EPIPE' || code === 'ECONNRESET') done();
    else done(error);
  };
}
