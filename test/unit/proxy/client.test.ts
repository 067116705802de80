import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { embeddedDataPlane } from '../../../src/proxy/embedded/client.ts';

describe('the client of the data plane', () => {
  it('gives up on one that accepts and does not answer: its process stands still', async () => {
    const state = await mkdtemp(join(tmpdir(), 'ud-client-'));
    const mute = createServer().listen(join(state, 'proxy.sock'));
    try {
      await once(mute, 'listening');
      const plane = embeddedDataPlane({ state, answerMs: 50 });
      await expect(plane.status()).rejects.toMatchObject({ code: 'UD_PROXY_FAILED' });
      await expect(plane.drained('site', 'site-1-1', 50)).rejects.toMatchObject({ code: 'UD_PROXY_FAILED' });
    } finally {
      mute.close();
      await rm(state, { recursive: true });
    }
  });
});
