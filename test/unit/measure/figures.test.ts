import { describe, expect, it } from 'vitest';
import type { Figure } from '../../../src/domain/analysis.ts';
import { openFigures } from '../../../src/measure/figures.ts';
import { quantile } from '../../../src/measure/tally.ts';
import { LATENCY_BOUNDS } from '../../../src/proxy/port.ts';
import { CountedInstance } from '../../support/metrics.ts';

const SUBJECT = { service: 'shop', rollout: 3, revision: 2, stable: 1 };
const signal = new AbortController().signal;

function scene() {
  const fresh = new CountedInstance('shop-3-1', 2);
  const olds = [new CountedInstance('shop-1-1', 1), new CountedInstance('shop-1-2', 1)] as const;
  const dataPlane = { figures: async () => [fresh, ...olds].map(({ figures }) => figures) };
  const open = (figure: Figure) => openFigures(dataPlane, figure, SUBJECT);
  return { fresh, olds, open };
}

describe('a figure of the data plane', () => {
  it('is of what has been counted since, of all instances of the revision', async () => {
    const { fresh, olds, open } = scene();
    fresh.answer(500, 0.01, 1000);
    olds[0].answer(503, 0.01, 1000);
    const gauge = await open('error-rate');
    fresh.answer(200, 0.01, 392);
    fresh.answer(502, 0.01, 18);
    fresh.break(2);
    olds[0].answer(200, 0.01, 3000);
    olds[1].answer(404, 0.01, 700);
    expect(await gauge.measure(signal)).toEqual({
      value: 20 / 412,
      stable: 0,
      sample: 412,
      verdict: null,
      said: '4.85% of 412 requests, stable 0% of 3,700',
    });
  });

  it('loses nothing that was counted after the data plane was upgraded, or of an instance that has gone', async () => {
    const { fresh, olds, open } = scene();
    fresh.answer(200, 0.01, 50);
    const gauge = await open('requests');
    fresh.answer(200, 0.01, 10);
    expect(await gauge.measure(signal)).toMatchObject({ value: 10, sample: 10 });
    fresh.restart();
    fresh.answer(200, 0.01, 5);
    olds[0].answer(200, 0.01, 7);
    expect(await gauge.measure(signal)).toMatchObject({
      value: 15,
      stable: 7,
      said: '15 requests, stable 7',
    });
  });

  it('has no value where there was no request', async () => {
    const { open } = scene();
    for (const figure of ['error-rate', 'latency-mean', 'latency-p95'] as const)
      expect(await (await open(figure)).measure(signal)).toMatchObject({
        value: null,
        stable: null,
        sample: 0,
      });
  });

  it('is compared with all that the stable revision has ever answered once that gets no traffic', async () => {
    const { fresh, olds, open } = scene();
    olds[0].answer(200, 0.02, 200);
    const gauge = await open('latency-mean');
    fresh.answer(200, 0.04, 100);
    olds[0].answer(200, 9, 1);
    expect(await gauge.measure(signal)).toMatchObject({
      value: expect.closeTo(0.04),
      stable: expect.closeTo(13 / 201),
      said: '40 ms of 100 requests, stable 64.7 ms of 201 ever',
    });
    olds[1].answer(200, 0.02, 49);
    expect(await gauge.measure(signal)).toMatchObject({ stable: expect.closeTo((9 + 49 * 0.02) / 50) });
  });

  it('rejects when the data plane does not answer', async () => {
    const broken = { figures: () => Promise.reject(new Error('no data plane')) };
    await expect(openFigures(broken, 'requests', SUBJECT)).rejects.toThrow('no data plane');
  });

  it('rejects at once when nobody wants it any more', async () => {
    let calls = 0;
    const stuck = { figures: () => (calls++ === 0 ? Promise.resolve([]) : new Promise<never>(() => {})) };
    const gauge = await openFigures(stuck, 'requests', SUBJECT);
    const controller = new AbortController();
    const measured = gauge.measure(controller.signal);
    controller.abort(new Error('stopped'));
    await expect(measured).rejects.toThrow('stopped');
  });
});

describe('a quantile', () => {
  const buckets = (counts: Record<number, number>) =>
    [...LATENCY_BOUNDS, Infinity].map((bound) => counts[bound] ?? 0);

  it.each([
    ['nothing', 0.5, {}, null],
    ['one bucket', 0.5, { 0.01: 10 }, 0.0075],
    ['the first bucket', 0.5, { 0.001: 4 }, 0.0005],
    ['the end of a bucket', 0.5, { 0.005: 10, 0.05: 10 }, 0.005],
    ['two buckets', 0.95, { 0.005: 90, 0.05: 10 }, 0.0375],
    ['what is beyond the last bound', 0.99, { 0.005: 1, [Infinity]: 9 }, 30],
  ] as const)('of %s', (_, q, counts, seconds) => {
    const found = quantile(q, buckets(counts));
    if (seconds === null) expect(found).toBeNull();
    else expect(found).toBeCloseTo(seconds, 10);
  });
});
