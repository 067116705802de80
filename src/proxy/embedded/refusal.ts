import { STATUS_CODES } from 'node:http';
import type { Duplex } from 'node:stream';
import type { AnswerHead } from './downstream.ts';
import type { Fields } from './http1/llhttp.ts';

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

/** A drain could not wait any longer for the answer to begin. */
export const DRAIN_DEADLINE: Refusal = {
  status: 503,
  reason: 'drain-deadline',
  message: 'the instance was taken out of service',
};

export const UNREACHABLE: Refusal = {
  status: 502,
  reason: 'connect',
  message: 'no instance could be reached',
};
export const NO_CONNECTION: Refusal = {
  status: 504,
  reason: 'connect-timeout',
  message: 'the instance took no connection',
};
export const NO_ANSWER: Refusal = {
  status: 504,
  reason: 'response-timeout',
  message: 'the instance did not answer in time',
};

/** A refusal as an answer with a body. */
export function refusalAnswer(refusal: Refusal): { head: AnswerHead; body: Buffer } {
  const body = Buffer.from(`${refusal.message}\n`);
  return {
    head: {
      status: refusal.status,
      reason: STATUS_CODES[refusal.status] ?? '',
      fields: NO_FIELDS,
      dropped: undefined,
      added: refusalHeaders(refusal, body.length),
      length: body.length,
    },
    body,
  };
}

/** The same as the last words on an HTTP/1 connection. */
export function refusalText(refusal: Refusal): string {
  const body = `${refusal.message}\n`;
  const lines = [`HTTP/1.1 ${refusal.status} ${STATUS_CODES[refusal.status] ?? ''}`];
  for (const [name, value] of refusalHeaders(refusal, Buffer.byteLength(body)))
    lines.push(`${name}: ${value}`);
  return `${lines.join('\r\n')}\r\nConnection: close\r\n\r\n${body}`;
}

/** The same on a bare socket, which is closed: after an upgrade. */
export function refuseRaw(socket: Duplex, refusal: Refusal): void {
  if (socket.writable) socket.end(refusalText(refusal), () => socket.destroy());
  else socket.destroy();
}

function refusalHeaders(refusal: Refusal, length: number): [string, string][] {
  const headers: [string, string][] = [
    ['Content-Type', 'text/plain; charset=utf-8'],
    ['Content-Length', String(length)],
    ['X-Unideploy-Proxy', refusal.reason],
  ];
  if (refusal.retryAfter !== undefined) headers.push(['Retry-After', String(refusal.retryAfter)]);
  return headers;
}

const NO_FIELDS: Fields = { count: 0, name: () => '', value: () => '' };
