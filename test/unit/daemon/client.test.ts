import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it, onTestFinished } from 'vitest';
import { apiClient } from '../../../src/daemon/client.ts';
import { statePaths } from '../../../src/daemon/paths.ts';

it.each([
  ['no JSON', '<html>', 'UD_REQUEST'],
  ['no error', '{}', 'UD_REQUEST'],
  ['nothing', '', 'UD_REQUEST'],
  ['a code that nobody knows', '{"error": {"code": "toString", "message": "m", "next": "n"}}', 'UD_INTERNAL'],
  ['one of ours', '{"error": {"code": "UD_LOCKED", "message": "m", "next": "n"}}', 'UD_LOCKED'],
])('a refusal that says %s is an error with a code', async (_what, text, code) => {
  const root = await mkdtemp(join(tmpdir(), 'ud-'));
  const paths = statePaths(root);
  const server = createServer((_request, response) => response.writeHead(400).end(text));
  server.listen(paths.socket);
  await once(server, 'listening');
  const client = apiClient(paths);
  onTestFinished(async () => {
    await client.close();
    server.close();
    await rm(root, { recursive: true });
  });
  await expect(client.services()).rejects.toMatchObject({ name: 'UnideployError', code });
});
