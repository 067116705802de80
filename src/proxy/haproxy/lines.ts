import { constants, openSync } from 'node:fs';
import { stat } from 'node:fs/promises';
import { Socket } from 'node:net';
import { execa } from 'execa';

/** How a request (or a connection, in `tcp` mode) ended. */
export interface RequestLine {
  backend: string;
  /** `<NOSRV>` where none had it */
  server: string;
  status: number;
  /** milliseconds from the head of the request to the end of the answer; -1: it did not come that far */
  took: number;
  /** HAProxy's termination state */
  ended: string;
  /** how often it was asked for again */
  retries: number;
  /** bytes from the client, and to it */
  received: number;
  sent: number;
  /** milliseconds since 1970 */
  at: number;
  /** the beginning of its line of the access log, JSON; undefined where none is wanted */
  access: string | undefined;
}

export interface LineReader {
  request(line: RequestLine): void;
  /** a server was taken out by what HAProxy saw of it */
  down(backend: string, server: string): void;
}

/**
 * Reads what HAProxy processes tell of their requests, from a named pipe, made if it is missing. Whoever has it open keeps
 * it open for writing too: it never ends, and no writer meets one without a reader. It holds 64 KB, some 800 lines.
 */
export async function readLines(path: string, reader: LineReader): Promise<{ close(): void }> {
  if ((await stat(path).catch(() => undefined)) === undefined) await execa('mkfifo', ['-m', '600', path]);
  const pipe = new Socket({ fd: openSync(path, constants.O_RDWR | constants.O_NONBLOCK), writable: false });
  pipe.unref();
  pipe.setEncoding('utf8');
  pipe.on('error', () => undefined);
  let rest = '';
  pipe.on('data', (piece) => {
    const lines = (rest + String(piece)).split('\n');
    rest = lines.pop() ?? '';
    for (const line of lines) readLine(line, reader);
  });
  return { close: () => pipe.destroy() };
}

function readLine(line: string, reader: LineReader): void {
  const match = REQUEST.exec(line);
  if (match) {
    const [, backend = '', server = '', status, took, ended = '', retried, received, sent, at, access = '-'] =
      match;
    reader.request({
      backend,
      server,
      status: Number(status),
      took: Number(took),
      ended,
      retries: Number(retried),
      received: Number(received),
      sent: Number(sent),
      at: Number(at),
      access: access === '-' ? undefined : access,
    });
    return;
  }
  const down = /^Server ([^\s/]+)\/(\S+) is DOWN/.exec(line);
  if (down) reader.down(down[1] ?? '', down[2] ?? '');
}

const REQUEST = /^(\S+) (\S+) (-?\d+) ([+]?-?\d+) (\S{4}) [+]?(\d+) [+]?(\d+) [+]?(\d+) (\d+) (.*)$/;
