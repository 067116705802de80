import { Agent, request } from 'undici';
import { UnideployError } from '../errors.ts';
import type { Teller } from './port.ts';

/** By a POST over real HTTP, on a connection of its own; only a whole answer of 2xx within the time counts. */
export const httpTeller: Teller = async ({ host, port }, path, timeout) => {
  const agent = new Agent({ connections: 1, pipelining: 1 });
  const origin = `http://${host.includes(':') ? `[${host}]` : host}:${port}`;
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => reject(new Error(`no answer within ${timeout} ms`)), timeout);
  });
  try {
    const { statusCode } = await Promise.race([post(agent, origin + path), late]);
    if (statusCode < 200 || statusCode > 299) throw new Error(`it answers ${statusCode}`);
  } catch (cause) {
    const message = `POST ${path} to a guest: ${(cause as Error).message}`;
    throw new UnideployError('UD_GUEST_UNHEALTHY', message, 'read its console: unideploy logs', { cause });
  } finally {
    clearTimeout(timer);
    void agent.destroy();
  }
};

async function post(dispatcher: Agent, url: string): Promise<{ statusCode: number }> {
  const { statusCode, body } = await request(url, { method: 'POST', dispatcher });
  await body.dump({ limit: 65_536 });
  return { statusCode };
}
