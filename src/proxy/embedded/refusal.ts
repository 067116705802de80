import { type ServerResponse, STATUS_CODES } from 'node:http';
import type { Duplex } from 'node:stream';

/** An answer of the proxy's own. `reason` is a stable word for machines, `message` one line for people. */
export interface Refusal {
  status: number;
  reason: string;
  message: string;
  /** seconds after which another attempt makes sense */
  retryAfter?: number;
  /** what follows on the connection cannot be trusted: close it */
  close?: boolean;
}

/** Answers with a refusal, of which no part may have been sent, up to the end of the answer. */
export function writeRefusal(res: ServerResponse, refusal: Refusal): void {
  const body = `${refusal.message}\n`;
  res.writeHead(refusal.status, refusalHeaders(refusal, body));
  res.write(body);
}

/** The same on a bare socket, which is closed: after an upgrade, or where no request could be read. */
export function refuseRaw(socket: Duplex, refusal: Refusal): void {
  if (!socket.writable) {
    socket.destroy();
    return;
  }
  const body = `${refusal.message}\n`;
  const lines = [`HTTP/1.1 ${refusal.status} ${STATUS_CODES[refusal.status] ?? ''}`];
  for (const [name, value] of Object.entries(refusalHeaders(refusal, body))) lines.push(`${name}: ${value}`);
  socket.end(`${lines.join('\r\n')}\r\nConnection: close\r\n\r\n${body}`, () => socket.destroy());
}

function refusalHeaders(refusal: Refusal, body: string): Record<string, string> {
  const headers: Record<string, string> = {
    'Content-Type': 'text/plain; charset=utf-8',
    'Content-Length': String(Buffer.byteLength(body)),
    'X-Unideploy-Proxy': refusal.reason,
  };
  if (refusal.retryAfter !== undefined) headers['Retry-After'] = String(refusal.retryAfter);
  return headers;
}
