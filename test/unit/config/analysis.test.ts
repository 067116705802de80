import { describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { analysisOf } from '../../../src/config/analysis.ts';
import { analysisBreaches } from '../../../src/config/analysis-rules.ts';
import { analysisSchema } from '../../../src/config/analysis-schema.ts';
import { analysisPolicy } from '../../../src/daemon/analysis-message.ts';
import { UNBOUND } from '../../support/metrics.ts';

const read = (text: string) => analysisOf(analysisSchema.parse(parse(text)), '/app');

const metrics = (text: string) => read(`metrics: [${text}]`)?.metrics;

/** What is wrong, each with its key within the metric (or the analysis). */
function problems(text: string): string[] {
  const result = analysisSchema.safeParse(parse(text));
  return result.success
    ? analysisBreaches(result.data).map(({ path, message }) => `${path.slice(2).join('.')}: ${message}`)
    : result.error.issues.map(({ path, message }) => `${path.join('.')}: ${message}`);
}

describe('rollout.analysis', () => {
  const FULL = `
interval: 15s
count: 4
dryRun: true
metrics:
  - {figure: error-rate, max: 0.5%, fail: {max: 5%}, sample: 200, failures: 1, errors: 2, dryRun: true}
  - {figure: latency-p95, name: slow, max: 250ms, maxRatio: 1.5}
  - {figure: requests, min: 500}
  - name: checkout
    prometheus: {url: 'http://127.0.0.1:9090', query: 'up{r="{{revision}}"}', headers: {X-Scope: '\${TENANT}'}}
    min: 0.1
    fail: {}
  - {name: smoke, command: ./smoke.sh, timeout: 1m}
  - {name: contract, http: 'https://judge.example.com/{{revision}}', max: 3}
`;

  it('says all that is measured, and how it is judged', () => {
    const policy = read(FULL);
    const none = { failures: 0, errors: 3, dryRun: false };
    expect(policy).toEqual({
      interval: 15_000,
      count: 4,
      dryRun: true,
      metrics: [
        {
          name: 'error-rate',
          source: { kind: 'figures', figure: 'error-rate' },
          pass: { ...UNBOUND, max: 0.005 },
          fail: { ...UNBOUND, max: 0.05 },
          sample: 200,
          failures: 1,
          errors: 2,
          dryRun: true,
        },
        {
          name: 'slow',
          source: { kind: 'figures', figure: 'latency-p95' },
          pass: { max: 0.25, min: null, maxRatio: 1.5 },
          fail: { max: 0.25, min: null, maxRatio: 1.5 },
          sample: 100,
          ...none,
        },
        {
          name: 'requests',
          source: { kind: 'figures', figure: 'requests' },
          pass: { ...UNBOUND, min: 500 },
          fail: UNBOUND,
          sample: 1,
          ...none,
        },
        {
          name: 'checkout',
          source: {
            kind: 'prometheus',
            url: 'http://127.0.0.1:9090',
            query: 'up{r="{{revision}}"}',
            // biome-ignore lint/suspicious/noTemplateCurlyInString: as it stands in a config
            headers: { 'X-Scope': '${TENANT}' },
            timeout: 10_000,
          },
          pass: { ...UNBOUND, min: 0.1 },
          fail: UNBOUND,
          sample: 0,
          ...none,
        },
        {
          name: 'smoke',
          source: { kind: 'command', command: './smoke.sh', folder: '/app', timeout: 60_000 },
          pass: UNBOUND,
          fail: UNBOUND,
          sample: 0,
          ...none,
        },
        {
          name: 'contract',
          source: {
            kind: 'http',
            url: 'https://judge.example.com/{{revision}}',
            headers: {},
            timeout: 10_000,
          },
          pass: { ...UNBOUND, max: 3 },
          fail: { ...UNBOUND, max: 3 },
          sample: 0,
          ...none,
        },
      ],
    });
    expect(analysisPolicy.parse(policy)).toEqual(policy);
  });

  it('is three measurements of ten seconds, unless it says more; and none where it is left out', () => {
    expect(read('metrics: [{figure: requests, min: 1}]')).toMatchObject({
      interval: 10_000,
      count: 3,
      dryRun: false,
    });
    expect(analysisOf(undefined, '/app')).toBeNull();
  });

  it('takes numbers as they are where no unit is known', () => {
    const query = "prometheus: {url: 'http://p', query: up}";
    expect(
      metrics(`{name: a, ${query}, max: 5%}, {name: b, ${query}, max: 2s}, {name: c, ${query}, max: -3}`),
    ).toEqual([0.05, 2, -3].map((max) => expect.objectContaining({ pass: { ...UNBOUND, max } })));
  });

  const COMMAND = 'name: a, command: b';
  it.each([
    ['{}', 'metrics: expected a list of metrics'],
    ['metrics: []', 'metrics: expected at least one metric'],
    [
      'metrics: [{max: 1}]',
      'metrics.0: rollout.analysis.metrics[0] measures nothing, expected one of figure, prometheus, command, http',
    ],
    [
      `metrics: [{${COMMAND}, figure: requests}]`,
      'metrics.0.command: rollout.analysis.metrics[0] has both figure and command, expected one of figure, prometheus, command, http',
    ],
    ['metrics: [{command: b}]', 'metrics.0: rollout.analysis.metrics[0].name is missing, expected one'],
    [
      `metrics: [{${COMMAND}}, {${COMMAND}}]`,
      'metrics.1.name: rollout.analysis.metrics[1] has the name "a" of metrics[0], expected another',
    ],
    [
      'metrics: [{figure: error-rate}]',
      'metrics.0: rollout.analysis.metrics[0] has no bound, expected max, min or maxRatio',
    ],
    [
      'metrics: [{figure: error-rate, max: 2}]',
      'metrics.0.max: rollout.analysis.metrics[0].max is no bound of error-rate, expected a percentage such as 2%',
    ],
    [
      'metrics: [{figure: latency-p50, max: 250}]',
      'metrics.0.max: rollout.analysis.metrics[0].max is no bound of latency-p50, expected a duration such as 250ms',
    ],
    [
      'metrics: [{figure: requests, min: 10, fail: {min: 5%}}]',
      'metrics.0.fail.min: rollout.analysis.metrics[0].fail.min is no bound of requests, expected a number',
    ],
    [
      'metrics: [{figure: error-rate, max: 5%, fail: {max: 2%}}]',
      'metrics.0.fail.max: rollout.analysis.metrics[0].fail.max is stricter than max, expected max to be within it',
    ],
    [
      `metrics: [{${COMMAND}, maxRatio: 2}]`,
      'metrics.0.maxRatio: rollout.analysis.metrics[0].maxRatio compares with nothing, expected it only with a figure, or with a query that has {{revision}} and not {{stable}}',
    ],
    [
      `metrics: [{${COMMAND}, sample: 2}]`,
      'metrics.0.sample: rollout.analysis.metrics[0].sample is given without a figure, expected it only with one',
    ],
    [
      'metrics: [{name: a, http: "ftp://b"}]',
      'metrics.0.http: expected a URL that starts with http:// or https://, without user and password',
    ],
    [
      'metrics: [{name: a, http: {url: "http://me:secret@b"}}]',
      'metrics.0.http.url: expected a URL that starts with http:// or https://, without user and password',
    ],
    [
      'metrics: [{figure: error-rate, max: 2 %}]',
      'metrics.0.max: expected a number, a percentage such as 2% or a duration such as 250ms',
    ],
  ])('%s', (text, problem) => {
    expect(problems(text)).toEqual([problem]);
  });
});

describe('an analysis that comes over the API', () => {
  it('is refused where it is not whole, or two metrics have one name', () => {
    const policy = read('metrics: [{figure: requests, min: 1}]');
    expect(
      analysisPolicy.safeParse({
        ...policy,
        metrics: [...(policy?.metrics ?? []), ...(policy?.metrics ?? [])],
      }).success,
    ).toBe(false);
    expect(analysisPolicy.safeParse({ ...policy, interval: 0 }).success).toBe(false);
    expect(analysisPolicy.safeParse({ ...policy, more: 1 }).success).toBe(false);
  });
});
