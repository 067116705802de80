import { describe, expect, test } from 'vitest';
import { startBareLoad } from '../../../support/http/bare-load.ts';
import { ENGINES, eventually, stage } from '../engines.ts';
import { backend, route } from '../scene.ts';

describe.each(ENGINES)('$engine', { timeout: 60_000 }, ({ open }) => {
  test('the metrics are Prometheus text, and say what the status and the figures say', async () => {
    const { apply, plane, url, status } = await stage((state) => open(state, 2));
    const app = await backend('1');
    const odd = 'a "quoted" \\ name';
    await apply({ routes: [route(odd, app, { revision: 7 }), route('b', app, { revision: 8 })] });
    expect((await startBareLoad({ url: url(), connections: 8, requests: 200 }).ended).failures).toEqual([]);
    await apply({ service: 'blog', hold: true, routes: [route(odd, app)] });
    await apply({ hold: true, routes: [route(odd, app, { revision: 7 })] });
    await plane.drained('shop', 'b', 1_000);
    const held = fetch(url());
    await eventually('it waits', async () => (await status()).held === 1);
    const waiting = samplesOf(await plane.metrics());
    expect(waiting.get('unideploy_held{service="shop"}')).toBe(1);
    await apply({ routes: [] });
    expect((await held).status).toBe(503);
    await apply({ routes: [route(odd, app, { revision: 7 }), route('b', app, { revision: 8 })] });
    await (await fetch(url())).text();
    await eventually('the last is counted', async () =>
      (await plane.figures('shop')).some(({ status }) => status['2xx'] > 0),
    );

    const samples = samplesOf(await plane.metrics());
    const figures = await plane.figures('shop');
    for (const { instance, revision, status, broken, retries, ejections, latency } of figures) {
      const labels = `service="shop",revision="${revision}",instance="${escaped(instance)}"`;
      for (const [code, count] of Object.entries(status))
        expect(samples.get(`unideploy_requests_total{${labels},code="${code}"}`)).toBe(count);
      expect(samples.get(`unideploy_broken_total{${labels}}`)).toBe(broken);
      expect(samples.get(`unideploy_retries_total{${labels}}`)).toBe(retries);
      expect(samples.get(`unideploy_ejections_total{${labels}}`)).toBe(ejections);
      expect(samples.get(`unideploy_request_seconds_sum{${labels}}`)).toBeCloseTo(latency.sum);
      const answers = latency.buckets.reduce((sum, each) => sum + each);
      expect(samples.get(`unideploy_request_seconds_count{${labels}}`)).toBe(answers);
      expect(bucketsOf(samples, labels)).toEqual(latency.buckets.map((_, i) => sumTo(latency.buckets, i)));
    }
    for (const { instance, revision } of (await status()).routes) {
      const labels = `service="shop",revision="${revision}",instance="${escaped(instance)}"`;
      expect(samples.get(`unideploy_in_flight{${labels}}`)).toBe(0);
      expect(samples.get(`unideploy_usable{${labels}}`)).toBe(1);
    }
    const of = (name: string) => samples.get(`unideploy_${name}{service="shop"}`);
    expect([of('held'), of('holds_total'), of('drains_total')]).toEqual([0, 1, 1]);
    expect(samples.get('unideploy_refused_total{service="shop",reason="no-instance"}')).toBe(1);
    expect(samples.get('unideploy_held{service="blog"}')).toBe(0);
  });
});

/** The samples of Prometheus' text format, read strictly: each after the type of its metric, none twice. */
function samplesOf(text: string): Map<string, number> {
  const samples = new Map<string, number>();
  const types = new Map<string, string>();
  expect(text.endsWith('\n')).toBe(true);
  for (const line of text.split('\n')) {
    const type = /^# TYPE ([a-z_]+) (counter|gauge|histogram)$/.exec(line);
    if (type) types.set(type[1] as string, type[2] as string);
    if (line === '' || line.startsWith('#')) continue;
    const [, series = '', name = '', value = ''] = SAMPLE.exec(line) ?? [];
    expect([line, name]).not.toEqual([line, '']);
    const metric = name.replace(/_(bucket|sum|count)$/, '');
    expect([name, types.has(name) || types.get(metric) === 'histogram']).toEqual([name, true]);
    expect([series, samples.has(series)]).toEqual([series, false]);
    samples.set(series, Number(value));
  }
  return samples;
}

const LABEL = String.raw`[a-z]+="(?:[^"\\\n]|\\[\\"n])*"`;
const SAMPLE = new RegExp(String.raw`^(([a-z_]+)\{${LABEL}(?:,${LABEL})*\}) (\d+(?:\.\d+)?(?:e-\d+)?)$`);

/** Of one histogram, in the order of their bounds. */
function bucketsOf(samples: Map<string, number>, labels: string): number[] {
  const bound = (series: string) => Number(/le="([^"]+)"/.exec(series)?.[1]?.replace('+Inf', 'Infinity'));
  return [...samples]
    .filter(([series]) => series.startsWith('unideploy_request_seconds_bucket') && series.includes(labels))
    .sort(([a], [b]) => bound(a) - bound(b))
    .map(([, count]) => count);
}

function sumTo(counts: number[], last: number): number {
  return counts.slice(0, last + 1).reduce((sum, each) => sum + each);
}

function escaped(text: string): string {
  return text.replaceAll('\\', '\\\\').replaceAll('"', '\\"');
}
