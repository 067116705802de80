import { once } from 'node:events';
import {
  type ClientHttp2Session,
  type ClientHttp2Stream,
  connect,
  type IncomingHttpHeaders,
  type OutgoingHttpHeaders,
} from 'node:http2';
import { onTestFinished } from 'vitest';

/** An HTTP/2 connection of a test. */
export async function connectHttp2(port: number): Promise<ClientHttp2Session> {
  const session = connect(`https://localhost:${port}`, {
    rejectUnauthorized: false,
    host: '127.0.0.1',
    settings: { enablePush: false },
    // of the client of these tests, which sends whole bodies at once
    maxSessionMemory: 1_000,
  } as object);
  onTestFinished(() => session.destroy());
  session.on('error', () => undefined);
  await once(session, 'connect');
  return session;
}

export interface Http2Answer {
  status: number;
  headers: IncomingHttpHeaders;
  trailers: IncomingHttpHeaders;
  body: string;
}

/** One request and its whole answer; rejects where the stream breaks. */
export async function ask(
  session: ClientHttp2Session,
  headers: OutgoingHttpHeaders = {},
  body?: string | Buffer,
): Promise<Http2Answer> {
  const stream = session.request({ ':path': '/', ...headers }, { endStream: body === undefined });
  if (body !== undefined) stream.end(body);
  return await answerOf(stream);
}

/** The whole answer on a stream; rejects where it breaks. */
export function answerOf(stream: ClientHttp2Stream): Promise<Http2Answer> {
  return new Promise((resolve, reject) => {
    let headers: IncomingHttpHeaders = {};
    let trailers: IncomingHttpHeaders = {};
    let body = '';
    stream.on('response', (all) => {
      headers = all;
    });
    stream.on('trailers', (all) => {
      trailers = all;
    });
    stream.on('data', (piece: Buffer) => {
      body += piece.toString('latin1');
    });
    stream.once('error', reject);
    let ended = false;
    stream.once('end', () => {
      ended = true;
    });
    stream.once('close', () => {
      const status = Number(headers[':status']);
      if (ended && stream.rstCode === 0 && status > 0) resolve({ status, headers, trailers, body });
      else reject(new Error(`the stream broke: ${stream.rstCode}`));
    });
  });
}
