import { once } from 'node:events';
import { createServer, type IncomingMessage, type RequestListener } from 'node:http';
import type { AddressInfo } from 'node:net';
import { text } from 'node:stream/consumers';
import { promisify } from 'node:util';
import { describe, expect, it, onTestFinished } from 'vitest';
import type { Hook } from '../../../src/domain/hooks.ts';
import { hookRunner } from '../../../src/hooks/run.ts';
import { FACTS, withEnvironment } from './facts.ts';

const never = new AbortController().signal;

/** How a config names a variable. */
const variable = (name: string) => `\${${name}}`;

/** A server that takes hooks, and what it was asked. */
async function listener(answer: RequestListener) {
  const asked: { head: IncomingMessage; body: string }[] = [];
  const server = createServer(async (request, response) => {
    asked.push({ head: request, body: await text(request) });
    answer(request, response);
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    asked,
    close: promisify(server.close.bind(server)),
  };
}

function run(
  url: string,
  rest: Partial<Extract<Hook, { kind: 'http' }>> = {},
  signal = never,
): Promise<void> {
  return hookRunner().run({ kind: 'http', url, headers: {}, timeout: 60_000, ...rest }, FACTS, signal);
}

describe('a call', () => {
  it('posts the facts as JSON, with headers and an address from the environment', async () => {
    const { url, asked } = await listener((_request, response) => response.writeHead(204).end());
    withEnvironment({ UD_TEST_TOKEN: 'hunter22-abc', UD_TEST_URL: `${url}/secret/path?a=1` });
    await run(variable('UD_TEST_URL'), {
      headers: {
        Authorization: `Bearer ${variable('UD_TEST_TOKEN')}`,
        'Content-Type': 'application/vnd.x+json',
      },
    });
    expect(asked).toHaveLength(1);
    expect(asked[0]?.head).toMatchObject({ method: 'POST', url: '/secret/path?a=1' });
    expect(asked[0]?.head.headers).toMatchObject({
      authorization: 'Bearer hunter22-abc',
      'content-type': 'application/vnd.x+json',
    });
    expect(JSON.parse(asked[0]?.body ?? '')).toEqual(FACTS);
  });

  it('says that it sends JSON', async () => {
    const { url, asked } = await listener((_request, response) => response.end('ok'));
    await run(url);
    expect(asked[0]?.head.headers['content-type']).toBe('application/json');
  });

  it('that is answered with another status than 2xx fails with it, and does not follow', async () => {
    const { url, asked } = await listener(({ url: path }, response) =>
      path === '/moved'
        ? response.writeHead(307, { location: '/' }).end()
        : response.writeHead(503).end('not now\nlater'),
    );
    await expect(run(`${url}/gate?token=x`)).rejects.toMatchObject({
      code: 'UD_HOOK_FAILED',
      message: `pre-cutover hook \`POST ${url}/gate\` was answered with 503: not now`,
    });
    await expect(run(`${url}/moved`)).rejects.toMatchObject({
      message: `pre-cutover hook \`POST ${url}/moved\` was answered with 307`,
    });
    expect(asked.map(({ head }) => head.url)).toEqual(['/gate?token=x', '/moved']);
  });

  it('keeps secrets out of the error when they are sent back', async () => {
    const { url } = await listener(({ headers }, response) =>
      response.writeHead(401).end(`unknown ${headers['x-one']} and ${headers['x-two']}`),
    );
    withEnvironment({ UD_TEST_ONE: 'abc', UD_TEST_TWO: 'abcdef' });
    const headers = { 'X-One': variable('UD_TEST_ONE'), 'X-Two': variable('UD_TEST_TWO') };
    await expect(run(url, { headers })).rejects.toMatchObject({
      message: expect.stringMatching(/was answered with 401: unknown \*\*\* and \*\*\*$/),
    });
  });

  it('that names a variable which is not set asks nobody, and says which', async () => {
    const { url, asked } = await listener((_request, response) => response.end());
    const headers = { authorization: `Bearer ${variable('UD_TEST_UNSET')}` };
    await expect(run(`${url}/x`, { headers })).rejects.toMatchObject({
      code: 'UD_HOOK_FAILED',
      message: `pre-cutover hook \`POST ${url}/x\` names the variable UD_TEST_UNSET, which is not set`,
    });
    expect(asked).toEqual([]);
  });

  it('that nobody answers in time is given up', async () => {
    const { url } = await listener(() => {});
    await expect(run(`${url}/slow`, { timeout: 200 })).rejects.toMatchObject({
      code: 'UD_DEADLINE',
      message: `pre-cutover hook \`POST ${url}/slow\` did not end within 0.2s`,
    });
  });

  it('fails where nobody listens, or the address is none', async () => {
    const { url, close } = await listener(() => {});
    await close();
    await expect(run(url)).rejects.toMatchObject({
      code: 'UD_HOOK_FAILED',
      message: expect.stringContaining('was not answered: '),
    });
    withEnvironment({ UD_TEST_URL: 'nonsense' });
    await expect(run(variable('UD_TEST_URL'))).rejects.toMatchObject({
      code: 'UD_HOOK_FAILED',
      message: expect.not.stringContaining('nonsense'),
    });
  });

  it('ends by order', async () => {
    const order = new AbortController();
    const { url } = await listener(() => order.abort(new Error('enough')));
    await expect(run(url, {}, order.signal)).rejects.toThrow('enough');
  });
});
