import { createHash, randomBytes } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import type { Route } from '../../../../src/proxy/port.ts';
import { type Change, ENGINES, eventually, sharedStage } from '../engines.ts';
import { route, until } from '../scene.ts';
import { bareInstance, deadPort, dial } from './wire.ts';

const digest = (text: string) => createHash('sha256').update(text, 'latin1').digest('hex');
const echo = () => bareInstance(({ socket }) => socket.pipe(socket));

describe.each(ENGINES)('$engine', { timeout: 60_000 }, ({ engine, open }) => {
  const at = sharedStage(open);
  const apply = (routes: Route[], change: Partial<Change> = {}) =>
    at().apply({ ...change, traffic: { mode: 'tcp' }, routes });
  const client = () => dial(at().port());
  const inFlight = async () => (await at().status()).routes.reduce((sum, each) => sum + each.inFlight, 0);
  const nothingInFlight = () => eventually('nothing is in flight', async () => (await inFlight()) === 0);

  test('what is sent comes back, and the connection is in flight until both sides have ended', async () => {
    await apply([route('a', await echo())]);
    const wire = await client();
    wire.socket.write('one');
    await until('the echo', () => wire.received() === 'one');
    expect(await inFlight()).toBe(1);
    wire.socket.end('two');
    await until('the rest', () => wire.received() === 'onetwo' && wire.ended());
    await nothingInFlight();
    await eventually('it is counted', async () => (await at().status()).requests === 1);
    expect((await at().status()).failures).toBe(0);
  });

  test('an instance that speaks first is heard by a client that says nothing', async () => {
    await apply([route('a', await bareInstance(({ socket }) => socket.write('220 ready')))]);
    const wire = await client();
    await until('the greeting', () => wire.received() === '220 ready');
  });

  test('a client that has ended its side still hears the instance', async () => {
    const app = await bareInstance(({ socket }) => socket.once('end', () => socket.write('all has come')));
    await apply([route('a', app)]);
    const wire = await client();
    wire.socket.end('everything');
    await until('the answer to the end', () => wire.received() === 'all has come');
    app.connections.find((each) => each.received() !== '')?.socket.end(', bye');
    await until('the end', () => wire.ended());
    expect(wire.received()).toBe('all has come, bye');
  });

  test('an instance that has ended its side still hears the client', async () => {
    const app = await bareInstance(({ socket }) => socket.end('that is all'));
    await apply([route('a', app)]);
    const wire = await client();
    await until('the end of the instance', () => wire.received() === 'that is all' && wire.ended());
    wire.socket.end('but I have more');
    await until('the client is heard', () =>
      app.connections.some((each) => each.received() === 'but I have more'),
    );
    await nothingInFlight();
  });

  test('large streams go both ways at once, whole', async () => {
    await apply([route('a', await echo())]);
    const wire = await client();
    const message = randomBytes(32 << 20).toString('latin1');
    wire.socket.end(message, 'latin1');
    await until('all of it', () => wire.ended(), 20_000);
    expect(digest(wire.received())).toBe(digest(message));
  });

  test('a reset of either side reaches the other', async () => {
    const app = await bareInstance(({ socket }) => socket.write('hello'));
    await apply([route('a', app)]);
    for (const side of ['client', 'instance'] as const) {
      const wire = await client();
      await until('the instance is heard', () => wire.received() === 'hello');
      const there = app.connections.findLast((each) => !each.ended());
      (side === 'client' ? wire : there)?.socket.resetAndDestroy();
      await until('the other side knows', () =>
        side === 'client' ? there?.closed() || there?.ended() === true : wire.closed() || wire.ended(),
      );
      wire.socket.destroy();
      there?.socket.destroy();
    }
    await nothingInFlight();
  });

  test('a refused connection goes to another instance, with all that the client has sent meanwhile', async () => {
    await apply([route('dead', await deadPort()), route('good', await echo())]);
    for (let n = 0; n < 4; n++) {
      const wire = await client();
      wire.socket.end(`hello ${n}`);
      await until('the echo', () => wire.received() === `hello ${n}` && wire.ended());
    }
    expect((await at().status()).failures).toBe(0);
  });

  test('a service without an instance closes the connection', async () => {
    await apply([]);
    const wire = await client();
    await until('the end', () => wire.ended() || wire.closed());
    expect(wire.received()).toBe('');
  });

  test('a drain waits for connections, and cuts what is left at its deadline', async () => {
    const app = await echo();
    await apply([route('a', app)]);
    const [short, long] = [await client(), await client()];
    for (const wire of [short, long]) wire.socket.write('x');
    await until('both are served', () => short.received() === 'x' && long.received() === 'x');
    await apply([route('a', app, { weight: 0 })]);
    const drained = at().plane.drained('shop', 'a', 500);
    short.socket.end('bye');
    await until('the first ends by itself', () => short.received() === 'xbye' && short.ended());
    expect(await drained).toMatchObject({ cut: 1 });
    await until('the other is cut', () => long.closed() || long.ended());
    expect(await at().plane.drained('shop', 'a', 60_000)).toMatchObject({ cut: 0 });
  });

  test('held connections wait, and go on when there is an instance', async () => {
    const app = await echo();
    await apply([route('a', app)], { hold: true });
    const [stays, leaves] = [await client(), await client()];
    stays.socket.write('patient');
    await eventually('both wait', async () => (await at().status()).held === 2);
    leaves.socket.resetAndDestroy();
    await eventually('one is forgotten', async () => (await at().status()).held === 1);
    expect(app.connections.filter((each) => each.received() !== '')).toHaveLength(0);
    await apply([route('a', app)]);
    await until('the echo', () => stays.received() === 'patient');
    expect(engine === 'haproxy' || app.connections.length === 1).toBe(true);
  });
});
