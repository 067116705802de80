import type { Socket } from 'node:net';
import { TLSSocket, type TLSSocketOptions } from 'node:tls';
import type { Certificates } from './certificates.ts';
import { helloName } from './hello.ts';

/** What a listener that speaks TLS says of itself. */
export interface Security {
  certificates: Certificates;
  /** ms for the whole handshake */
  within: number;
  /** in the order of preference */
  protocols?: string[];
}

/**
 * Shakes hands with a client by the certificate of the host it asks for; `ready` gets the socket, not read from yet,
 * once that is done. A client that cannot be agreed with is closed. The host is read before TLS begins, as an
 * `SNICallback` only adds its certificate to the one the socket began with: where one is ECDSA and the other RSA,
 * OpenSSL may choose the wrong one.
 */
export function secure(raw: Socket, security: Security, ready: (socket: TLSSocket) => void): void {
  const late = setTimeout(() => raw.destroy(), security.within);
  raw.once('close', () => clearTimeout(late));
  raw.on('error', () => raw.destroy());
  let bytes = Buffer.alloc(0);
  const gone = () => raw.destroy();
  const more = (piece: Buffer) => {
    bytes = Buffer.concat([bytes, piece]);
    const name = helloName(bytes);
    if (name === undefined) return;
    raw.off('data', more).off('end', gone).pause();
    raw.unshift(bytes);
    const socket = begin(raw, name, security);
    socket?.once('secure', () => {
      clearTimeout(late);
      // only Node's own server says so, and HTTP/2 waits for it; Node's types do not know it
      Object.assign(socket, { secureConnecting: false });
      ready(socket);
    });
  };
  raw.on('data', more).once('end', gone).resume();
}

function begin(raw: Socket, name: string, { certificates, protocols }: Security): TLSSocket | undefined {
  const secureContext = certificates.context(name);
  if (secureContext === undefined) {
    raw.destroy();
    return undefined;
  }
  const options: TLSSocketOptions = { isServer: true, secureContext };
  if (protocols) options.ALPNProtocols = protocols;
  const socket = new TLSSocket(raw, options);
  socket.on('error', () => socket.destroy());
  return socket;
}
