import { expect, test } from 'vitest';
import { home, table } from './home.ts';
import { backend, route, until } from './scene.ts';

test('what a scrape has seen is still there when the workers have died', async () => {
  const { plane, workers } = await home({ workers: 2 });
  await plane.ensure();
  const app = await backend('1');
  const { listen } = await plane.apply(table(1, { routes: [route('a', app, { revision: 7 })] }));
  // a connection for each, so that both workers get some
  const ask = async () => {
    const answer = await fetch(`http://127.0.0.1:${listen.port}/`, { headers: { connection: 'close' } });
    await answer.text();
  };
  const counted = (answers: number) =>
    `unideploy_requests_total{service="shop",revision="7",instance="a",code="2xx"} ${answers}\n`;
  for (let i = 0; i < 40; i++) await ask();
  expect(await plane.metrics()).toContain(counted(40));
  const old = workers().map(({ pid }) => pid);
  for (const pid of old) process.kill(pid, 'SIGKILL');
  const replaced = () => workers().filter(({ pid }) => !old.includes(pid)).length === 2;
  await until('they are replaced', replaced, 20_000);
  await ask();
  expect(await plane.metrics()).toContain(counted(41));
  expect(await plane.figures('unknown')).toEqual([]);
});
