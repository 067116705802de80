import { randomBytes } from 'node:crypto';
import { Agent, request } from 'undici';
import type { Answers } from '../domain/health.ts';
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
    async ask(endpoint, { healthPath, probePaths, timeout }) {
      const agent = new Agent({ connections: 1, pipelining: 1 });
      const origin = originOf(endpoint);
      const get = async (path: string): Promise<Answer> => await ask(agent, origin + path, timeout);
      try {
        const health = await get(healthPath);
        const healthy = health.status !== null && health.status >= 200 && health.status < 300;
        if (!healthy) return { healthy, summary: health.summary, bodies: {} };
        const bodies: Answers['bodies'] = {};
        let summary = health.summary;
        for (const path of probePaths) {
          const answer = await get(path);
          if (answer.status === 200) bodies[path] = answer.body;
          summary = `${summary}, ${path}: ${answer.summary}`;
        }
        return { healthy, summary, bodies };
      } finally {
        void agent.destroy();
      }
    },

    async wake(endpoint, { path, identity, timeout }) {
      const agent = new Agent({ connections: 1, pipelining: 1 });
      const post = {
        method: 'POST' as const,
        body: JSON.stringify({ ...identity, entropy: randomBytes(ENTROPY).toString('hex') }),
        headers: { 'content-type': 'application/json' },
      };
      try {
        const { status, summary } = await ask(agent, originOf(endpoint) + path, timeout, post);
        return { heard: status !== null && status >= 200 && status < 300, summary };
      } finally {
        void agent.destroy();
      }
    },
  };
}

function originOf({ host, port }: Endpoint): string {
  return `http://${host.includes(':') ? `[${host}]` : host}:${port}`;
}

interface Answer {
  status: number | null;
  body: string;
  summary: string;
}

type Post = { method: 'POST'; body: string; headers: Record<string, string> };

async function ask(agent: Agent, url: string, timeout: Questions['timeout'], post?: Post): Promise<Answer> {
  // Not by a signal: undici hears of it only when it has a connection, and a guest that hangs may never take one.
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => reject(new Error(`no answer within ${timeout} ms`)), timeout);
  });
  try {
    return await Promise.race([answerOf(agent, url, post), late]);
  } catch (error) {
    if (isHostTrouble(error)) throw error;
    return { status: null, body: '', summary: (error as Error).message };
  } finally {
    clearTimeout(timer);
  }
}

async function answerOf(agent: Agent, url: string, post: Post | undefined): Promise<Answer> {
  const { statusCode, body } = await request(url, { dispatcher: agent, ...post });
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
