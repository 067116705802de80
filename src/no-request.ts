import type { Socket } from 'node:net';
import type { UnideployError } from './errors.ts';

/** For a server's `clientErrorHandler`: answers what is no HTTP at all as every other mistake, and hangs up. */
export function refuseNoRequest(
  refusal: (message: string) => UnideployError,
): (error: NodeJS.ErrnoException, socket: Socket) => void {
  return (error, socket) => {
    // Too late to say anything, or nobody is there to hear it.
    if (error.code === 'ECONNRESET' || !socket.writable) return void socket.destroy();
    const body = JSON.stringify({ error: refusal(`this is no request: ${error.message}`) });
    const head = [
      'HTTP/1.1 400 Bad Request',
      'Content-Type: application/json',
      `Content-Length: ${Buffer.byteLength(body)}`,
      'Connection: close',
    ];
    socket.end(`${head.join('\r\n')}\r\n\r\n${body}`);
  };
}
