import { expect, onTestFinished, test } from 'vitest';
import { embeddedDataPlane } from '../../../src/proxy/embedded/client.ts';
import { startNarrowApp } from '../../support/http/app.ts';
import { eventually, stage } from './engines.ts';
import { route } from './scene.ts';

const ROUNDS = 5;

// Limits: over ten times what 80 rounds took at most (70 and 209 ms). The kernel sends again what was dropped after 1,000 ms,
// and what was dropped of the end of a handshake up to a minute later.
test.each([
  { method: 'GET', limit: 900 },
  { method: 'POST', limit: 2_200 },
])(
  'held $method requests that burst upon an instance with a backlog of 1 are answered soon',
  async ({ method, limit }) => {
    const { plane, apply, status, url } = await stage((state) => embeddedDataPlane({ state, workers: 2 }));
    const app = await startNarrowApp(2);
    onTestFinished(() => app.kill());
    const took: number[] = [];
    for (let round = 1; round <= ROUNDS; round++) {
      await apply({ hold: true, routes: [route('a', app)] });
      await plane.drained('shop', 'a', 5_000);
      const answers = Array.from({ length: 16 }, async () => {
        const answer = await fetch(url(), { method });
        await answer.text();
        return answer.status;
      });
      await eventually('all wait', async () => (await status()).held === answers.length);
      const released = performance.now();
      await apply({ routes: [route('a', app)] });
      expect(new Set(await Promise.all(answers))).toEqual(new Set([200]));
      took.push(Math.round(performance.now() - released));
    }
    expect(Math.max(...took)).toBeLessThan(limit);
  },
);
