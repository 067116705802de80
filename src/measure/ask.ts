import { Agent, request } from 'undici';
import type { Address } from '../domain/analysis.ts';
import { answering } from './deadline.ts';
import { withSecrets } from './placeholders.ts';

/** A longer answer is no answer of a metric. Bytes. */
const LONGEST_ANSWER = 1 << 20;

export interface Answer {
  status: number;
  text: string;
}

/** Asks over HTTP, with a form where there is one, and reads the whole answer. Rejects without one in time. */
export async function ask(
  { url, headers, timeout }: Address,
  form: Record<string, string> | null,
  signal: AbortSignal,
): Promise<Answer> {
  const agent = new Agent({ connections: 1 });
  try {
    return await answering(timeout, signal, async (either) => {
      const { statusCode, body } = await request(url, {
        dispatcher: agent,
        signal: either,
        method: form ? 'POST' : 'GET',
        headers: {
          accept: 'application/json, */*',
          ...(form ? { 'content-type': 'application/x-www-form-urlencoded' } : {}),
          ...withSecrets(headers),
        },
        body: form ? `${new URLSearchParams(form)}` : null,
      });
      return { status: statusCode, text: await readWhole(body) };
    });
  } catch (error) {
    throw new Error(spoken(error as NodeJS.ErrnoException), { cause: error });
  } finally {
    void agent.destroy();
  }
}

/** The JSON of an answer; undefined where it is none. */
export function jsonOf({ text }: Answer): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** An answer that nobody expected, in one line. */
export function answered({ status, text }: Answer): string {
  return `answered ${status} ${text.trim().split('\n')[0]?.slice(0, 120)}`.trim();
}

/** Node says nothing but a code where a name has several addresses and none answers. */
function spoken({ message, code }: NodeJS.ErrnoException): string {
  return message || (code ?? 'no connection');
}

async function readWhole(body: AsyncIterable<Buffer>): Promise<string> {
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of body) {
    chunks.push(chunk);
    length += chunk.length;
    if (length > LONGEST_ANSWER) throw new Error(`an answer longer than ${LONGEST_ANSWER} bytes`);
  }
  return Buffer.concat(chunks).toString('utf8');
}
