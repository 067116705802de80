import { connect } from 'node:net';
import fc from 'fast-check';
import { expect } from 'vitest';
import { ERROR_CODES } from '../../../src/errors.ts';

/** A route of an API: `POST /services/:service/scale`. */
export interface ApiRoute {
  method: string;
  path: string;
}

/** Milliseconds in which an answer has begun, on a crowded machine. */
const ANSWERS_WITHIN = 10_000;

export const contentType = fc.oneof(
  { weight: 8, arbitrary: fc.constant('application/json') },
  fc.constantFrom(
    'application/octet-stream',
    'application/json; charset=utf-16',
    'text/plain',
    'multipart/form-data; boundary=x',
    'application/x-www-form-urlencoded',
    '',
    ';;;',
    '*/*',
    'application/json, text/plain',
  ),
);
/** What stands in a path, as it goes over the wire. */
export const segment = fc.oneof(
  { weight: 4, arbitrary: fc.constant('site') },
  fc.constantFrom(
    '1',
    '0',
    '-1',
    '1e999',
    '1152921504606846976',
    '0x10',
    'NaN',
    '1.5',
    '',
    '%00',
    '%',
    '%zz',
  ),
  fc.constantFrom('%2e%2e%2f', '..', '__proto__', 'constructor', 'c'.repeat(64), 'site-1-1', '%F0%9F', ':x'),
  fc.constantFrom('a'.repeat(5_000), '%0d%0aX: y', '%1b%5b2J', "'%20or%201=1", '*', 'site;x=y'),
  fc.string({ unit: 'binary', maxLength: 12 }).map((text) => encodeURIComponent(wellFormed(text))),
);
export const query = fc.oneof(
  { weight: 3, arbitrary: fc.constant('') },
  fc
    .tuple(fc.constantFrom('after', 'lines', 'follow', '__proto__', 'x'), segment)
    .map(([key, value]) => `?${key}=${value}`),
  fc.constantFrom(
    '?',
    '?after=1&after=2',
    '?after[]=1',
    '?after[__proto__]=1',
    '?lines=1e999',
    `?${'a&'.repeat(2_000)}`,
  ),
);

export interface Answer {
  status: number;
  text: string;
}

/** Expects no fault of the server's own, and every refusal to have a code, a cause in one line and a next step. */
export function refusedOrDone({ status, text }: Answer): void {
  const said = `${status} ${text.slice(0, 500)}`;
  expect(status, said).toBeLessThan(500);
  if (status < 400 || text === '') return;
  const { error } = JSON.parse(text) as { error: { code: string; message: string; next: string } };
  expect(Object.keys(ERROR_CODES), said).toContain(error.code);
  expect(error.code, said).not.toBe('UD_INTERNAL');
  expect(error.message, said).toMatch(/^\P{Cc}+$/u);
  expect(error.next, said).not.toBe('');
}

/** One request over a connection of its own. */
export async function ask(
  socket: string,
  { method, path }: ApiRoute,
  text: string | null,
  sort = 'application/json',
): Promise<Answer> {
  const bytes = text === null ? null : Buffer.from(text, 'utf8');
  const head = [
    `${method} ${path} HTTP/1.1`,
    'Host: controller',
    'Connection: close',
    ...(sort === '' || bytes === null ? [] : [`Content-Type: ${sort}`]),
    ...(bytes === null ? [] : [`Content-Length: ${bytes.length}`]),
  ].join('\r\n');
  const answer = await sent(
    socket,
    Buffer.concat([Buffer.from(`${head}\r\n\r\n`), bytes ?? Buffer.alloc(0)]),
    false,
  );
  const [, status = '0'] = /^HTTP\/1\.1 (\d{3})/.exec(answer) ?? [];
  return { status: Number(status), text: bodyOf(answer) };
}

/** What comes back until the server hangs up, or, of a stream that goes on, its beginning. */
export async function sent(place: string, request: string | Buffer, isOver: boolean): Promise<string> {
  const socket = connect(place);
  let answer = '';
  let timer: NodeJS.Timeout | undefined;
  socket.on('error', () => {});
  const closed = new Promise((resolve) => socket.once('close', resolve));
  const begun = new Promise<void>((resolve) => {
    socket.on('data', (piece) => {
      answer += piece.toString('latin1');
      if (/transfer-encoding: chunked\r\n[\s\S]*\r\n\r\n/i.test(answer)) resolve();
    });
  });
  const late = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(
      () => reject(new Error(`no answer to ${request.toString('latin1').slice(0, 300)}`)),
      ANSWERS_WITHIN,
    );
  });
  socket.write(request);
  if (isOver) socket.end();
  try {
    // A server that has answered may hang up on what is still being sent: an error of the socket is no end of its own.
    await Promise.race([closed, begun, late]);
  } finally {
    clearTimeout(timer);
    socket.destroy();
  }
  return answer;
}

function bodyOf(answer: string): string {
  return Buffer.from(answer.split('\r\n\r\n').slice(1).join('\r\n\r\n'), 'latin1').toString('utf8');
}

function wellFormed(text: string): string {
  return Buffer.from(text, 'utf8').toString('utf8');
}
