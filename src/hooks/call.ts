import { Agent, request } from 'undici';
import type { HookFacts } from '../domain/hooks.ts';
import type { Failure } from './command.ts';

/** What is read of an answer, to be shown. Bytes. */
const KEPT = 16_384;

interface Call {
  url: string;
  headers: Record<string, string>;
}

/** Posts the facts as JSON, and lets go when the signal says so. Null: it was answered with 2xx; redirects are not followed. */
export async function post(
  { url, headers }: Call,
  facts: HookFacts,
  signal: AbortSignal,
): Promise<Failure | null> {
  const agent = new Agent({ connections: 1 });
  try {
    const { statusCode, body } = await request(url, {
      dispatcher: agent,
      method: 'POST',
      headers: withType(headers),
      body: JSON.stringify(facts),
      headersTimeout: 0,
      bodyTimeout: 0,
      signal,
    });
    if (statusCode >= 200 && statusCode < 300) return null;
    const [first = ''] = (await beginning(body)).trim().split('\n');
    return { how: `was answered with ${statusCode}`, said: first === '' ? [] : [first.trim()] };
  } catch (error) {
    return { how: `was not answered: ${spoken(error as NodeJS.ErrnoException)}`, said: [] };
  } finally {
    void agent.destroy();
  }
}

/** As it was said, or JSON: header names are alike in either case. */
function withType(said: Record<string, string>): Headers {
  const headers = new Headers(said);
  if (!headers.has('content-type')) headers.set('content-type', 'application/json');
  return headers;
}

/** An answer that breaks off still had a status. */
async function beginning(body: AsyncIterable<Buffer>): Promise<string> {
  let text = '';
  try {
    for await (const chunk of body) {
      text += chunk.toString('utf8');
      if (text.length > KEPT) break;
    }
  } catch {}
  return text;
}

/** Node says nothing but a code where a name has several addresses and none answers. */
function spoken({ message, code }: NodeJS.ErrnoException): string {
  return message || (code ?? 'no connection');
}
