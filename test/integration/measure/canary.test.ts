import type { RequestListener } from 'node:http';
import { describe, expect, it, onTestFinished } from 'vitest';
import { systemClock } from '../../../src/daemon/system-clock.ts';
import type { Measured } from '../../../src/domain/analysis.ts';
import { analyse } from '../../../src/engine/analysis.ts';
import { measures } from '../../../src/measure/index.ts';
import { startLoad } from '../../support/http/load.ts';
import { metric, policy, UNBOUND } from '../../support/metrics.ts';
import { backend, route, scene } from '../proxy/scene.ts';

const SUBJECT = { service: 'shop', rollout: 2, revision: 2, stable: 1 };
const LATENCY = metric({
  name: 'latency',
  source: { kind: 'figures', figure: 'latency-mean' },
  pass: { ...UNBOUND, maxRatio: 1.5 },
});

/** Answers after so many milliseconds; every so many requests with an error. */
function app(ms: number, failsEvery = Infinity): RequestListener {
  let requests = 0;
  return (req, res) => {
    req.resume();
    res.statusCode = ++requests % failsEvery === 0 ? 500 : 200;
    setTimeout(() => res.end('ok'), ms);
  };
}

/** What one analysis says of a revision that has a tenth of a load, on a data plane as it is. */
async function analysisOf(fresh: RequestListener) {
  const front = scene();
  const [old, next] = [await backend(app(20)), await backend(fresh)];
  await front.apply({
    routes: [
      route('shop-1-1', old, { revision: 1, weight: 90 }),
      route('shop-2-1', next, { revision: 2, weight: 10 }),
    ],
  });
  const load = startLoad({ url: front.url, connections: 32, rate: 500, check: () => undefined });
  onTestFinished(async () => void (await load.stop()));
  const told: Measured[] = [];
  const conclusion = await analyse(
    {
      measures: measures({ dataPlane: { figures: async (service) => front.plane.figures(service) } }),
      clock: systemClock,
    },
    policy([metric(), LATENCY], { interval: 1500 }),
    SUBJECT,
    (one) => told.push(one),
    new AbortController().signal,
  );
  return { ...conclusion, told };
}

describe('a canary with a tenth of the traffic', () => {
  it('passes its analysis when it is as good as the revision before', async () => {
    const { outcome, told } = await analysisOf(app(20));
    expect(outcome).toBe('passed');
    expect(told.at(-1)?.sample).toBeGreaterThan(100);
  });

  it('fails its first one when it answers 5 per cent errors', async () => {
    const { outcome, reason } = await analysisOf(app(20, 20));
    expect(outcome).toBe('failed');
    expect(reason).toMatch(/^error-rate [\d.]+% of \d+ requests, stable 0% of [\d,]+; at most 2%$/);
  });

  it('fails its first one when its latency is doubled', async () => {
    const { outcome, reason } = await analysisOf(app(40));
    expect(outcome).toBe('failed');
    expect(reason).toMatch(
      /^latency [\d.]+ ms of \d+ requests, stable [\d.]+ ms of [\d,]+; at most 1.5 times stable$/,
    );
  });
});
