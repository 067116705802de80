import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { leaksOf, soak } from '../../support/soak/soak.ts';
import { ENGINES } from './engines.ts';

// `npm run soak:proxy` does ten times as much
const AMOUNTS = { connections: 20_000, websockets: 1_000, downloads: 1_000 };

test.each(ENGINES)(
  '$engine: connections that have ended in every way leave nothing behind',
  { timeout: 180_000 },
  async ({ open }) => {
    const state = await mkdtemp(join(tmpdir(), 'ud-'));
    const plane = open(state);
    onTestFinished(async () => {
      await plane.stop();
      await rm(state, { recursive: true });
    });
    await plane.ensure();
    expect(leaksOf(await soak(plane, state, AMOUNTS))).toEqual([]);
  },
);
