import { describe, expect, it } from 'vitest';
import type { AnalysisPolicy, Measured, Measurement } from '../../../src/domain/analysis.ts';
import { analyse } from '../../../src/engine/analysis.ts';
import { VirtualClock } from '../../../src/hypervisor/simulated/clock.ts';
import { measures } from '../../../src/measure/index.ts';
import type { Measures } from '../../../src/measure/port.ts';
import { CountedInstance, metric, policy, UNBOUND } from '../../support/metrics.ts';

const SUBJECT = { service: 'shop', rollout: 3, revision: 2, stable: 1 };

/** A source that says these one after the other, the last for ever. */
function saying(...all: (Partial<Measurement> | Error)[]): Measures {
  return {
    open: async () => {
      let next = 0;
      return {
        measure: async () => {
          const said = all[Math.min(next++, all.length - 1)];
          if (said instanceof Error) throw said;
          return { value: null, stable: null, sample: null, verdict: null, said: 'is so', ...said };
        },
      };
    },
  };
}

function analysing(source: Measures, what: AnalysisPolicy, signal = new AbortController().signal) {
  const clock = new VirtualClock();
  const told: Measured[] = [];
  const work = analyse({ measures: source, clock }, what, SUBJECT, (one) => told.push(one), signal);
  return { clock, told, work };
}

async function outcomeOf(source: Measures, what: AnalysisPolicy) {
  const { clock, told, work } = analysing(source, what);
  const conclusion = await clock.until(work);
  return { ...conclusion, told: told.map(({ outcome }) => outcome), seconds: clock.now() / 1000 };
}

const GOOD = { value: 0, sample: 400 };
const BAD = { value: 0.05, sample: 400 };
const FEW = { value: 0, sample: 99 };

describe('an analysis', () => {
  it('passes after so many measurements, the first after one interval', async () => {
    expect(await outcomeOf(saying(GOOD), policy([metric()]))).toMatchObject({
      outcome: 'passed',
      told: ['success', 'success', 'success'],
      seconds: 30,
    });
  });

  it('fails at once when a metric does', async () => {
    expect(await outcomeOf(saying(GOOD, BAD), policy([metric(), metric({ name: 'other' })]))).toMatchObject({
      outcome: 'failed',
      told: ['success', 'success', 'failure', 'failure'],
      seconds: 20,
    });
  });

  it('is inconclusive when there are too few requests at its end, or no data at all', async () => {
    expect(await outcomeOf(saying(FEW), policy([metric()]))).toMatchObject({
      outcome: 'inconclusive',
      seconds: 30,
    });
    expect(await outcomeOf(saying({}), policy([metric()]))).toMatchObject({ outcome: 'inconclusive' });
  });

  it('measures again after an error', async () => {
    const source = saying(new Error('refused'), GOOD);
    expect(await outcomeOf(source, policy([metric()]))).toMatchObject({
      outcome: 'passed',
      told: ['error', 'success', 'success', 'success'],
      seconds: 40,
    });
  });

  it('fails when it cannot measure for too long', async () => {
    expect(await outcomeOf(saying(new Error('refused')), policy([metric()]))).toMatchObject({
      outcome: 'failed',
      reason: 'error-rate could not be measured: refused (4 times in a row)',
      seconds: 40,
    });
  });

  it('opens a source again that could not be opened', async () => {
    const source = saying(GOOD);
    let opened = 0;
    const late: Measures = {
      open: async (...asked) => {
        if (opened++ < 2) throw new Error('no data plane');
        return await source.open(...asked);
      },
    };
    expect(await outcomeOf(late, policy([metric()]))).toMatchObject({
      outcome: 'passed',
      told: ['error', 'success', 'success', 'success'],
    });
  });

  it('changes nothing as a dry run, of one metric or of all', async () => {
    expect(await outcomeOf(saying(BAD), policy([metric()], { dryRun: true }))).toMatchObject({
      outcome: 'passed',
      reason: expect.stringMatching(/^dry run, would have failed: error-rate is so/),
      seconds: 30,
    });
    const { told, ...conclusion } = await outcomeOf(saying(BAD), policy([metric({ dryRun: true })]));
    expect(conclusion).toMatchObject({ outcome: 'passed', seconds: 30 });
    expect(told).toEqual(['failure', 'failure', 'failure']);
  });

  it('compares with nothing where no revision ran before', async () => {
    const clock = new VirtualClock();
    const what = policy([metric({ pass: { ...UNBOUND, maxRatio: 1.5 } })]);
    const parts = { measures: saying({ value: 0.1, sample: 400 }), clock };
    const work = analyse(parts, what, { ...SUBJECT, stable: null }, () => {}, new AbortController().signal);
    expect(await clock.until(work)).toMatchObject({ outcome: 'passed' });
  });

  it('stops at once when it is told to, in the midst of a measurement too', async () => {
    const stuck: Measures = { open: async () => ({ measure: () => new Promise(() => {}) }) };
    for (const source of [saying(GOOD), stuck]) {
      const controller = new AbortController();
      const { clock, told, work } = analysing(source, policy([metric()]), controller.signal);
      const meanwhile = clock.sleep(10_000).then(() => controller.abort());
      await clock.until(meanwhile);
      expect(await work).toEqual({ outcome: 'inconclusive', reason: 'the analysis was stopped' });
      expect(clock.now()).toBe(10_000);
      expect(told.length).toBeLessThanOrEqual(1);
    }
    expect(await analysing(saying(GOOD), policy([metric()]), AbortSignal.abort()).work).toMatchObject({
      outcome: 'inconclusive',
    });
  });
});

describe('a canary with a tenth of 100 requests a second', () => {
  const latency = metric({
    name: 'latency',
    source: { kind: 'figures', figure: 'latency-mean' },
    pass: { ...UNBOUND, maxRatio: 1.5 },
  });

  /** Every second the new revision answers 10 requests, the old one 90. */
  async function canary(answer: (fresh: CountedInstance, second: number) => void) {
    const fresh = new CountedInstance('shop-3-1', 2);
    const old = new CountedInstance('shop-1-1', 1);
    const source = measures({ dataPlane: { figures: async () => [fresh.figures, old.figures] } });
    const { clock, work } = analysing(source, policy([metric(), latency]));
    const traffic = async () => {
      for (let second = 1; second <= 31; second++) {
        await clock.sleep(1000);
        old.answer(200, 0.012, 90);
        answer(fresh, second);
      }
    };
    void traffic();
    return { ...(await clock.until(work)), seconds: clock.now() / 1000 };
  }

  it('passes when it is as good as the old revision', async () => {
    expect(await canary((fresh) => fresh.answer(200, 0.013, 10))).toMatchObject({ outcome: 'passed' });
  });

  it('fails within its first analysis when it answers 5 per cent errors', async () => {
    const found = await canary((fresh, second) => {
      fresh.answer(200, 0.012, second % 2 === 0 ? 9 : 10);
      if (second % 2 === 0) fresh.answer(500, 0.012);
    });
    expect(found).toMatchObject({ outcome: 'failed', seconds: expect.toSatisfy((at: number) => at <= 30) });
    expect(found.reason).toMatch(/^error-rate \d\.\d+% of \d+ requests, stable 0% of [\d,]+; at most 2%$/);
  });

  it('fails within its first analysis when its latency is doubled, within one bucket of the histogram too', async () => {
    const found = await canary((fresh) => fresh.answer(200, 0.024, 10));
    expect(found).toMatchObject({ outcome: 'failed', seconds: expect.toSatisfy((at: number) => at <= 30) });
    expect(found.reason).toMatch(
      /^latency 24 ms of \d+ requests, stable 12 ms of [\d,]+; at most 1.5 times stable$/,
    );
  });
});
