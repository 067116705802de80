import { randomBytes } from 'node:crypto';
import { Client } from 'undici';
import { type Answers, proven } from '../domain/health.ts';
import { isHostTrouble } from '../errors.ts';
import type { Endpoint } from '../hypervisor/port.ts';
import type { Prober, Questions } from './port.ts';

/** No answer to a check needs more; a longer one is no proof of anything. Bytes. */
const LONGEST_ANSWER = 4096;

/** Bytes that a copy is given: twice what Linux's generator is seeded with. */
const ENTROPY = 64;

/**
 * Asks over real HTTP. A connection for each round: the forwarder in front of a guest accepts before the guest listens
 * and after it has hung, so only a whole answer within the time-out counts.
 */
export function httpProber(): Prober {
  return {
    ask: (endpoint, { healthPath, probePaths, timeout }) =>
      onConnection(endpoint, timeout, async (get) => {
        const health = await get(healthPath);
        if (!isGood(health)) return { healthy: false, summary: health.summary, bodies: {} };
        const bodies: Answers['bodies'] = {};
        let summary = health.summary;
        for (const path of probePaths) {
          const answer = await get(path);
          if (answer.status === 200) bodies[path] = answer.body;
          summary = `${summary}, ${path}: ${answer.summary}`;
        }
        return { healthy: true, summary, bodies };
      }),

    prove: (endpoint, proofs, { healthPath, timeout }) =>
      onConnection(endpoint, timeout, async (get) => {
        const bodies: Answers['bodies'] = {};
        let summary = '';
        for (const proof of proofs) {
          const answer = await get(proof.path);
          if (answer.status === null) return { healthy: false, summary: answer.summary, bodies: {} };
          if (answer.status === 200) bodies[proof.path] = answer.body;
          if (!proven([proof], bodies)) return null;
          summary = `${summary}, ${proof.path}: ${answer.summary}`;
        }
        const health = await get(healthPath);
        return { healthy: isGood(health), summary: `${health.summary}${summary}`, bodies };
      }),

    wake: (endpoint, { path, identity, timeout }) =>
      onConnection(endpoint, timeout, async (say) => {
        const body = JSON.stringify({ ...identity, entropy: randomBytes(ENTROPY).toString('hex') });
        const answer = await say(path, {
          method: 'POST',
          body,
          headers: { 'content-type': 'application/json' },
        });
        return { heard: isGood(answer), summary: answer.summary };
      }),
  };
}

async function onConnection<T>(
  { host, port }: Endpoint,
  timeout: number,
  talk: (say: (path: string, post?: Post) => Promise<Answer>) => Promise<T>,
): Promise<T> {
  const client = new Client(`http://${host.includes(':') ? `[${host}]` : host}:${port}`);
  try {
    return await talk((path, post) => ask(client, path, timeout, post));
  } finally {
    void client.destroy();
  }
}

function isGood({ status }: Answer): boolean {
  return status !== null && status >= 200 && status < 300;
}

interface Answer {
  status: number | null;
  body: string;
  summary: string;
}

type Post = { method: 'POST'; body: string; headers: Record<string, string> };

async function ask(
  client: Client,
  path: string,
  timeout: Questions['timeout'],
  post?: Post,
): Promise<Answer> {
  // Not by a signal: undici hears of it only when it has a connection, and a guest that hangs may never take one.
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => reject(new Error(`no answer within ${timeout} ms`)), timeout);
  });
  try {
    return await Promise.race([answerOf(client, path, post), late]);
  } catch (error) {
    if (isHostTrouble(error)) throw error;
    return { status: null, body: '', summary: (error as Error).message };
  } finally {
    clearTimeout(timer);
  }
}

async function answerOf(client: Client, path: string, post: Post | undefined): Promise<Answer> {
  const { statusCode, body } = await client.request({ path, method: 'GET', ...post });
  const text = await readShort(body);
  const summary = `${statusCode} ${text.trim().split('\n')[0]?.slice(0, 80)}`.trim();
  return { status: statusCode, body: text, summary };
}

async function readShort(body: AsyncIterable<Buffer>): Promise<string> {
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of body) {
    chunks.push(chunk);
    length += chunk.length;
    if (length > LONGEST_ANSWER) throw new Error(`an answer longer than ${LONGEST_ANSWER} bytes`);
  }
  return Buffer.concat(chunks).toString('utf8');
}
