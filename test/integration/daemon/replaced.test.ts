import { once } from 'node:events';
import { mkdtemp, rename, rm } from 'node:fs/promises';
import { createServer, type RequestListener } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it, onTestFinished } from 'vitest';
import { apiClient } from '../../../src/daemon/client.ts';
import { type StatePaths, statePaths } from '../../../src/daemon/paths.ts';

let paths: StatePaths;

beforeEach(async () => {
  paths = statePaths(await mkdtemp(join(tmpdir(), 'ud-replaced-')));
});
afterEach(() => rm(paths.root, { recursive: true, force: true }));

/** A controller of which only the socket matters: it has the well-known name from now on, as a new one's has. */
async function controller(token: number, listener: RequestListener): Promise<void> {
  const server = createServer(listener);
  server.listen(`${paths.socket}.${token}`);
  await once(server, 'listening');
  await rename(`${paths.socket}.${token}`, paths.socket);
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
}

it('a client leaves a controller that answers no more, once another one has its place', async () => {
  const heard: string[] = [];
  await controller(1, (request, response) => {
    heard.push(request.url ?? '');
    // It begins to tell of a journal, and is stopped.
    if (request.url?.includes('journal')) response.write('{"seq":1}\n');
  });
  const client = apiClient(paths);
  onTestFinished(() => client.close());
  const journal = client.journal(1, 0);
  expect(await journal.next()).toMatchObject({ value: { seq: 1 } });
  const rest = journal.next();
  const ping = client.ping();
  for (const waiting of [rest, ping]) waiting.catch(() => {});

  await controller(2, (_request, response) => void response.end('{"pid":2}'));
  await expect(ping).rejects.toMatchObject({ code: 'UD_CONTROLLER_LOST' });
  await expect(rest).rejects.toThrow();
  expect(await client.ping()).toEqual({ pid: 2 });
  expect(heard).toEqual(['/rollouts/1/journal?after=0', '/ping']);
});
