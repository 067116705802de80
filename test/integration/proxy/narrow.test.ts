import { describe, expect, onTestFinished, test } from 'vitest';
import { startNarrowApp } from '../../support/http/app.ts';
import { ENGINES, eventually, stage } from './engines.ts';
import { route } from './scene.ts';

const ROUNDS = 5;

// Ten times what rounds took at most. The kernel sends again what was dropped after a second, and what was dropped of the end
// of a handshake up to a minute later; of the latter HAProxy may meet none, of the former few.
const LIMITS = {
  embedded: { GET: 900, POST: 2_200 },
  haproxy: { GET: 16_000, POST: 16_000 },
};

describe.each(ENGINES)('$engine', ({ engine, open }) => {
  test.each(['GET', 'POST'] as const)(
    'held %s requests that burst upon an instance with a backlog of 1 are answered soon',
    async (method) => {
      const { plane, apply, status, url } = await stage((state) => open(state, 2));
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
      expect(Math.max(...took)).toBeLessThan(LIMITS[engine][method]);
    },
  );
});
