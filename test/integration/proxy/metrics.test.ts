import { expect, test } from 'vitest';
import { eventually } from './engines.ts';
import { home, table } from './home.ts';
import { backend, route, until } from './scene.ts';

test('the figures of all workers are there for Prometheus, by service, revision and instance', async () => {
  const { plane, workers } = await home({ workers: 2 });
  await plane.ensure();
  const app = await backend('1');
  const broken = await backend((req) => req.socket.destroy());
  const { listen } = await plane.apply(table(1, { routes: [route('a', app, { revision: 7 })] }));
  const url = `http://127.0.0.1:${listen.port}/`;
  // a connection for each, so that both workers get some
  const ask = (more: RequestInit = {}) => fetch(url, { ...more, headers: { connection: 'close' } });
  for (let i = 0; i < 40; i++) await (await ask()).text();
  const a = (weight: number) => route('a', app, { revision: 7, weight });
  const b = (weight: number) => route('b', broken, { revision: 8, weight });
  await plane.apply(table(2, { routes: [a(0), b(100)] }));
  expect((await ask({ method: 'POST', body: 'x' })).status).toBe(502);
  await plane.apply(table(3, { hold: true, routes: [a(100), b(0)] }));
  const held = ask().then((res) => res.text());
  await eventually('it is held', async () => (await plane.status())[0]?.held === 1);
  expect(await plane.metrics()).toContain('unideploy_held{service="shop"} 1\n');
  await plane.apply(table(4, { routes: [a(100), b(0)] }));
  expect(await held).toBe('revision 1\n');
  await plane.drained('shop', 'b', 1_000);

  const [figures] = (await plane.figures('shop')).filter(({ instance }) => instance === 'a');
  expect(figures).toMatchObject({ revision: 7, status: { '2xx': 41, '5xx': 0 }, broken: 0 });
  expect(figures?.latency.buckets.reduce((sum, count) => sum + count)).toBe(41);
  expect(await plane.figures('unknown')).toEqual([]);

  const metrics = await plane.metrics();
  const labels = 'service="shop",revision="7",instance="a"';
  for (const line of [
    '# TYPE unideploy_requests_total counter',
    '# TYPE unideploy_request_seconds histogram',
    `unideploy_requests_total{${labels},code="2xx"} 41`,
    `unideploy_broken_total{${labels}} 0`,
    `unideploy_request_seconds_bucket{le="30",${labels}} 41`,
    `unideploy_request_seconds_bucket{le="+Inf",${labels}} 41`,
    `unideploy_request_seconds_count{${labels}} 41`,
    `unideploy_in_flight{${labels}} 0`,
    `unideploy_usable{${labels}} 1`,
    `unideploy_retries_total{${labels}} 0`,
    `unideploy_ejections_total{${labels}} 0`,
    'unideploy_held{service="shop"} 0',
    'unideploy_holds_total{service="shop"} 1',
    'unideploy_drains_total{service="shop"} 1',
    'unideploy_refused_total{service="shop",reason="upstream"} 1',
  ])
    expect(metrics.split('\n')).toContain(line);

  // what a scrape has seen is still there when the workers have died
  const old = workers().map(({ pid }) => pid);
  for (const pid of old) process.kill(pid, 'SIGKILL');
  const replaced = () => workers().filter(({ pid }) => !old.includes(pid)).length === 2;
  await until('they are replaced', replaced, 20_000);
  await (await ask()).text();
  expect(await plane.metrics()).toContain(`unideploy_requests_total{${labels},code="2xx"} 42\n`);
});
