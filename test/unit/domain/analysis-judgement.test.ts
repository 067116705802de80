import { describe, expect, it } from 'vitest';
import type { Measurement } from '../../../src/domain/analysis.ts';
import { judge, unmeasured, withoutComparison } from '../../../src/domain/judgement.ts';
import { metric, UNBOUND } from '../../support/metrics.ts';

const measured = (said: Partial<Measurement>): Measurement => ({
  value: null,
  stable: null,
  sample: null,
  verdict: null,
  said: 'is so',
  ...said,
});

const band = metric({ pass: { ...UNBOUND, max: 0.02 }, fail: { ...UNBOUND, max: 0.05 } });
const ratio = metric({ name: 'latency', pass: { ...UNBOUND, maxRatio: 1.5 }, sample: 0 });
const floor = metric({ source: { kind: 'figures', figure: 'requests' }, pass: { ...UNBOUND, min: 500 } });
const both = metric({ pass: { max: 0.02, min: null, maxRatio: 2 } });
const smoke = metric({
  name: 'smoke',
  source: { kind: 'command', command: 'true', folder: '/', timeout: 1 },
  pass: UNBOUND,
});
const load = { ...smoke, pass: { ...UNBOUND, max: 4 }, fail: { ...UNBOUND, max: 4 } };

describe('a measurement', () => {
  it.each([
    ['within the bound', metric(), { value: 0.01, sample: 400 }, 'success'],
    ['at the bound', metric(), { value: 0.02, sample: 400 }, 'success'],
    ['beyond it', metric(), { value: 0.021, sample: 400 }, 'failure'],
    ['between the two bounds', band, { value: 0.03, sample: 400 }, 'inconclusive'],
    ['beyond both', band, { value: 0.051, sample: 400 }, 'failure'],
    ['good, of too few requests', metric(), { value: 0, sample: 99 }, 'inconclusive'],
    ['bad, of too few requests', metric(), { value: 1, sample: 99 }, 'inconclusive'],
    ['without data', metric(), { value: null, sample: 0 }, 'inconclusive'],
    ['without a value', metric(), { value: null }, 'inconclusive'],
    ['that is no number', metric(), { value: Number.NaN, sample: 400 }, 'inconclusive'],
    ['under the floor', floor, { value: 400, sample: 400 }, 'failure'],
    ['over the floor', floor, { value: 500, sample: 500 }, 'success'],
    ['like the stable one', ratio, { value: 0.3, stable: 0.2 }, 'success'],
    ['worse than the stable one', ratio, { value: 0.31, stable: 0.2 }, 'failure'],
    ['without a stable value', ratio, { value: 0.3, stable: null }, 'inconclusive'],
    ['nought as the stable one', ratio, { value: 0, stable: 0 }, 'success'],
    ['of two bounds, the ratio broken', both, { value: 0.01, stable: 0.001, sample: 100 }, 'failure'],
    ['of two bounds, one unknown', both, { value: 0.01, sample: 100 }, 'inconclusive'],
    ['of two bounds, one unknown and one broken', both, { value: 0.03, sample: 100 }, 'failure'],
    ['that judges itself well', smoke, { verdict: 'success' }, 'success'],
    ['that judges itself badly', smoke, { verdict: 'failure', value: 0 }, 'failure'],
    ['that cannot judge itself', smoke, { verdict: 'inconclusive' }, 'inconclusive'],
    ['that judges itself well, beyond a bound', load, { verdict: 'success', value: 5 }, 'failure'],
    ['that judges itself well, and owes its value', load, { verdict: 'success' }, 'inconclusive'],
    ['that judges itself badly, within a bound', load, { verdict: 'failure', value: 1 }, 'failure'],
  ] as const)('%s', (_, subject, measurement, outcome) => {
    expect(judge(subject, measured(measurement)).outcome).toBe(outcome);
  });

  it('says in one line what was found and what may be', () => {
    const said = '4.8% of 412 requests, stable 0.0% of 3,700';
    expect(judge(metric(), measured({ value: 0.048, stable: 0, sample: 412, said }))).toEqual({
      metric: 'error-rate',
      outcome: 'failure',
      value: 0.048,
      stable: 0,
      sample: 412,
      reason: 'error-rate 4.8% of 412 requests, stable 0.0% of 3,700; at most 2%',
      dryRun: false,
    });
    expect(judge(metric(), measured({ value: 0, sample: 12 })).reason).toBe(
      'error-rate is so; 100 are needed',
    );
    expect(judge(ratio, measured({ value: 1 })).reason).toBe(
      'latency is so; there is nothing of the stable revision to compare with',
    );
  });

  it('that failed says why, and is known as an error', () => {
    expect(unmeasured(metric({ dryRun: true }), 'connect ECONNREFUSED')).toMatchObject({
      outcome: 'error',
      reason: 'error-rate could not be measured: connect ECONNREFUSED',
      dryRun: true,
    });
  });

  it('is judged by itself alone where no revision ran before', () => {
    const alone = withoutComparison(both);
    expect(judge(alone, measured({ value: 0.01, sample: 100 })).outcome).toBe('success');
    expect(judge(alone, measured({ value: 0.03, sample: 100 })).outcome).toBe('failure');
    expect(judge(withoutComparison(ratio), measured({ value: 9 })).outcome).toBe('success');
    expect(judge(withoutComparison(ratio), measured({})).outcome).toBe('inconclusive');
  });
});
