import type { RequestListener } from 'node:http';
import { describe, expect, test } from 'vitest';
import { type Backend, revisionListener } from '../../../support/http/backend.ts';
import { ENGINES, eventually, sharedStage } from '../engines.ts';
import { backend, route } from '../scene.ts';

describe.each(ENGINES)('$engine', { timeout: 60_000 }, ({ engine, open }) => {
  const at = sharedStage(open);

  /** Whether each instance gets requests, in the order of the table. */
  const usable = async () => (await at().status()).routes.map((each) => each.usable);
  const ask = async () => (await fetch(at().url())).text();
  const askUntil = (what: string, holds: (usable: boolean[]) => boolean) =>
    eventually(what, async () => {
      await ask();
      return holds(await usable());
    });

  test('so many failures in a row take an instance out, and it comes back after its time', async () => {
    const { apply, plane } = at();
    const sick = await moody();
    const eject = { failures: 3, time: 1_000, floor: 50 };
    await apply({ traffic: { eject }, routes: [route('sick', sick.app), route('well', await backend('1'))] });
    expect(await usable()).toEqual([true, true]);
    sick.status = 503;
    await askUntil('it is out', ([first]) => first === false);
    expect(sick.app.requests).toBeGreaterThanOrEqual(3);
    const asked = { before: 0, after: 0 };
    // with HAProxy its weight is taken a moment after it was seen to fail
    await eventually('only the other is asked', async () => {
      asked.before = sick.app.requests;
      for (let n = 0; n < 10; n++) await ask();
      asked.after = sick.app.requests;
      return asked.before === asked.after;
    });
    const [figures] = (await plane.figures('shop')).filter(({ instance }) => instance === 'sick');
    expect(figures).toMatchObject({ ejections: 1 });
    sick.status = 200;
    await eventually('it is back', async () => (await usable())[0] === true);
    await eventually('it is asked again', async () => {
      await ask();
      return sick.app.requests > asked.after;
    });
  });

  test('an answer in between begins the row anew', async () => {
    const { apply, url } = at();
    let asked = 0;
    const flaky = await backend((_req, res) => void res.writeHead(asked++ % 3 === 2 ? 200 : 503).end());
    const eject = { failures: 3, time: 60_000, floor: 0 };
    await apply({ traffic: { eject }, routes: [route('flaky', flaky), route('well', await backend('1'))] });
    for (let n = 0; n < 40; n++) await (await fetch(url())).text();
    expect(asked).toBeGreaterThan(10);
    expect(await usable()).toEqual([true, true]);
  });

  test('answers of the application’s own, errors included, take nobody out', async () => {
    const { apply, url } = at();
    const app = await backend((req, res) => void res.writeHead(Number(req.url?.slice(1))).end());
    const eject = { failures: 2, time: 60_000, floor: 0 };
    await apply({ traffic: { eject }, routes: [route('a', app), route('b', app)] });
    for (const status of [404, 500, 501, 429])
      for (let n = 0; n < 8; n++) await (await fetch(`${url()}${status}`)).text();
    expect(await usable()).toEqual([true, true]);
  });

  test('an instance that refuses connections is out at once, and back when it takes them again', async () => {
    const { apply } = at();
    const app = await backend('back');
    await apply({ routes: [route('a', app), route('b', await backend('1'))] });
    await app.kill();
    await askUntil('it is out', ([first]) => first === false);
    app.server.listen(app.port, '127.0.0.1');
    await eventually('it is back', async () => (await usable())[0] === true);
    await eventually('it is asked again', async () => (await ask()) === 'revision back\n');
    await app.kill();
  });

  test('failures never take out more instances than the floor leaves', async () => {
    const { apply } = at();
    const sick = await moody();
    sick.status = 503;
    const eject = { failures: 2, time: 60_000, floor: 50 };
    const routes = [
      ...['a', 'b', 'c'].map((name) => route(name, sick.app)),
      route('well', await backend('1')),
    ];
    await apply({ traffic: { eject }, routes });
    let most = 0;
    for (let n = 0; n < 60; n++) {
      await ask();
      most = Math.max(most, (await usable()).filter((each) => !each).length);
    }
    expect(most).toBe(2);
  });

  test('the only instance always stays', async () => {
    const { apply } = at();
    const sick = await moody();
    sick.status = 503;
    const eject = { failures: 1, time: 60_000, floor: 50 };
    await apply({ traffic: { eject }, routes: [route('a', sick.app)] });
    for (let n = 0; n < 10; n++) await ask();
    expect(sick.app.requests).toBe(10);
    expect(await usable()).toEqual([true]);
  });

  test('failed checks take an instance out, and successful ones let it in again, each so many in a row', async () => {
    const { apply } = at();
    const sick = await moody();
    const check = { path: '/healthz', interval: 50, timeout: 500, healthy: 2, unhealthy: 4 };
    await apply({ traffic: { check }, routes: [route('a', sick.app), route('b', await backend('1'))] });
    await eventually('both are in', async () => (await usable()).every(Boolean));
    sick.health = 500;
    sick.checks = 0;
    await eventually('it is out', async () => (await usable())[0] === false);
    expect(sick.checks).toBeGreaterThanOrEqual(4);
    for (let n = 0; n < 10; n++) expect(await ask()).toBe('revision 1\n');
    sick.health = 200;
    sick.checks = 0;
    await eventually('it is in again', async () => (await usable())[0] === true);
    expect(sick.checks).toBeGreaterThanOrEqual(2);
    await eventually('it is asked again', async () => (await ask()) === 'revision moody\n');
  });

  test('checks that fail now and then change nothing', async () => {
    const { apply } = at();
    const app = await moody();
    app.health = () => (app.checks % 5 === 0 ? 503 : 204);
    const check = { path: '/healthz', interval: 20, timeout: 500, healthy: 2, unhealthy: 3 };
    await apply({ traffic: { check }, routes: [route('a', app.app), route('b', await backend('1'))] });
    await eventually('both are in', async () => (await usable()).every(Boolean));
    const began = app.checks;
    let out = 0;
    await eventually('many checks', async () => {
      if (!(await usable())[0]) out++;
      return app.checks > began + 40;
    });
    expect(out).toBe(0);
  });

  test('checks that would take out more than the floor leaves count for nothing; with HAProxy requests wait', async () => {
    const { apply, status } = at();
    const [a, b] = [await moody(), await moody()];
    const check = { path: '/healthz', interval: 50, timeout: 500, healthy: 1, unhealthy: 2 };
    await apply({ traffic: { check }, routes: [route('a', a.app), route('b', b.app)] });
    await eventually('both are in', async () => (await usable()).every(Boolean));
    for (const each of [a, b]) Object.assign(each, { health: 500, checks: 0 });
    if (engine === 'haproxy') {
      await eventually('both are out', async () => !(await usable()).some(Boolean));
      const answer = ask();
      await eventually('it waits', async () => (await status()).held === 1);
      for (const each of [a, b]) each.health = 200;
      expect(await answer).toBe('revision moody\n');
      return;
    }
    await eventually('many checks have failed', async () => a.checks > 10 && b.checks > 10);
    expect(await usable()).toEqual([true, true]);
    for (let n = 0; n < 4; n++) expect(await ask()).toBe('revision moody\n');
  });

  test('an instance that no check has answered yet takes no part with HAProxy, and does with the other', async () => {
    const { apply } = at();
    const app = await moody();
    app.health = 500;
    const check = { path: '/healthz', interval: 100, timeout: 500, healthy: 1, unhealthy: 1 };
    await apply({ traffic: { check }, routes: [route('well', await backend('1'))] });
    await eventually('it is in', async () => (await usable())[0] === true);
    await apply({ traffic: { check }, routes: [route('well', await backend('1')), route('new', app.app)] });
    await eventually('it is out', async () => (await usable())[1] === false);
    for (let n = 0; n < 10; n++) expect(await ask()).toBe('revision 1\n');
    if (engine === 'haproxy') expect(app.app.requests).toBe(app.checks);
  });
});

/** An instance whose answers to requests and to checks are as the test says. */
async function moody() {
  const answer = revisionListener('moody');
  const listener: RequestListener = (req, res) => {
    if (req.url === '/healthz') {
      made.checks++;
      res.writeHead(typeof made.health === 'number' ? made.health : made.health()).end();
    } else if (made.status === 200) answer(req, res);
    else res.writeHead(made.status).end('sick');
  };
  const made = { status: 200, health: 200 as number | (() => number), checks: 0, app: {} as Backend };
  made.app = await backend(listener);
  return made;
}
