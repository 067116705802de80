import { once } from 'node:events';
import type { RequestListener } from 'node:http';
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net';
import { expect, onTestFinished, test } from 'vitest';
import type { ActiveCheck } from '../../../src/domain/traffic.ts';
import { ActiveChecks } from '../../../src/proxy/embedded/process/checks.ts';
import { startBackend } from '../../support/http/backend.ts';
import { backend, route, until } from './scene.ts';

const CHECK: ActiveCheck = { path: '/healthz', interval: 30, timeout: 200, healthy: 2, unhealthy: 3 };

/** Active checks for one test, and what they told. */
function scene() {
  const verdicts: [service: string, instance: string, healthy: boolean][] = [];
  const lines: { level: string; cause: unknown }[] = [];
  const checks = new ActiveChecks({
    onVerdict: (...verdict) => verdicts.push(verdict),
    log: (level, _, fields) => lines.push({ level, cause: fields?.cause }),
  });
  onTestFinished(() => checks.stop());
  return { checks, verdicts, lines, told: () => verdicts.map(([, , healthy]) => healthy) };
}

/** A server below HTTP for one test. */
async function server(onConnection: (socket: Socket) => void): Promise<Server & { port: number }> {
  const sockets = new Set<Socket>();
  const made = createServer((socket) => {
    sockets.add(socket);
    socket.on('error', () => undefined);
    onConnection(socket);
  });
  made.listen(0, '127.0.0.1');
  await once(made, 'listening');
  onTestFinished(() => {
    for (const socket of sockets) socket.destroy();
    made.close();
  });
  return Object.assign(made, { port: (made.address() as AddressInfo).port });
}

/** Answers with the status that `say` gives. */
const saying =
  (say: () => number): RequestListener =>
  (_, res) =>
    void res.writeHead(say()).end('x');

test('a check is one GET with a connection of its own, and of one that is well nothing is told', async () => {
  const { checks, verdicts } = scene();
  const heads: string[] = [];
  const peers = new Set<number | undefined>();
  const well = await backend((req, res) => {
    heads.push(`${req.method} ${req.url} ${req.headers.host} ${req.headers.connection}`);
    peers.add(req.socket.remotePort);
    res.writeHead(204).end();
  });
  checks.apply('shop', CHECK, [route('a', well)]);
  await until('some checks', () => well.requests >= 5);
  expect(new Set(heads)).toEqual(new Set([`GET /healthz 127.0.0.1:${well.port} close`]));
  expect(peers.size).toBe(heads.length);
  expect(verdicts).toEqual([]);
  expect(checks.unhealthy('shop')).toEqual([]);
});

test('500s in a row make an instance unhealthy, successes in a row healthy again', async () => {
  const { checks, verdicts, lines } = scene();
  let status = 500;
  const sick = await backend(saying(() => status));
  checks.apply('shop', CHECK, [route('a', sick), route('b', await backend())]);
  await until('the verdict', () => verdicts.length === 1);
  expect(sick.requests).toBeGreaterThanOrEqual(CHECK.unhealthy);
  expect(checks.unhealthy('shop')).toEqual(['a']);
  status = 200;
  const asked = sick.requests;
  await until('the other verdict', () => verdicts.length === 2);
  expect(sick.requests - asked).toBeGreaterThanOrEqual(CHECK.healthy);
  expect(verdicts).toEqual([
    ['shop', 'a', false],
    ['shop', 'a', true],
  ]);
  expect(lines).toEqual([
    { level: 'warn', cause: 'status 500' },
    { level: 'info', cause: 'answers' },
  ]);
});

test('only a 2xx is a success', async () => {
  const { checks, verdicts } = scene();
  const moved = await backend((_, res) => void res.writeHead(302, { location: '/login' }).end());
  checks.apply('shop', CHECK, [route('a', moved)]);
  await until('the verdict', () => verdicts.length === 1);
});

test('an instance that flaps below the thresholds changes nothing', async () => {
  const { checks, verdicts } = scene();
  let asked = 0;
  const flapping = await backend(saying(() => (asked++ % 3 === 0 ? 200 : 503)));
  checks.apply('shop', CHECK, [route('a', flapping)]);
  await until('many checks', () => asked >= 20);
  expect(verdicts).toEqual([]);
});

test.each([
  ['accepts and says nothing', () => undefined, 'no answer within 200 ms'],
  ['hangs up', (socket: Socket) => void socket.destroy(), 'ECONNRESET'],
  ['speaks no HTTP', (socket: Socket) => void socket.end('SSH-2.0-x\r\n\r\n'), 'HPE_INVALID_CONSTANT'],
  [
    'wants to speak something else',
    (socket: Socket) =>
      void socket.write('HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n'),
    'no answer',
  ],
  [
    'stops in the head',
    (socket: Socket) => void socket.write('HTTP/1.1 200 OK\r\nx: '),
    'no answer within 200 ms',
  ],
])('one that %s is unhealthy, and is asked one question at a time', async (_, onConnection, cause) => {
  const { checks, verdicts, lines } = scene();
  let open = 0;
  let most = 0;
  const bad = await server((socket) => {
    most = Math.max(most, ++open);
    socket.on('close', () => open--);
    socket.resume();
    onConnection(socket);
  });
  checks.apply('shop', CHECK, [route('a', bad)]);
  await until('the verdict', () => verdicts.length === 1);
  expect(most).toBe(1);
  expect(lines).toEqual([{ level: 'warn', cause }]);
});

test('one that refuses connections is unhealthy, and healthy when it is back', async () => {
  const { checks, told, lines } = scene();
  const first = await startBackend(saying(() => 200));
  checks.apply('shop', CHECK, [route('a', first)]);
  await until('a check', () => first.requests > 0);
  await first.kill();
  await until('the verdict', () => told().length === 1);
  expect(lines[0]?.cause).toBe('ECONNREFUSED');
  first.server.listen(first.port, '127.0.0.1');
  await until('the other verdict', () => told().length === 2);
  await first.kill();
  expect(told()).toEqual([false, true]);
});

test('a body that never ends is cut, whether it floods or trickles', async () => {
  const { checks, verdicts } = scene();
  let sent = 0;
  const floods = await backend((_, res) => {
    const pour = () => {
      while (!res.destroyed && res.write(Buffer.alloc(16_384))) sent += 16_384;
    };
    res.on('drain', pour);
    pour();
  });
  const trickles = await backend((_, res) => {
    const timer = setInterval(() => res.write('x'), 10);
    res.on('close', () => clearInterval(timer));
  });
  checks.apply('shop', CHECK, [route('a', floods), route('b', trickles)]);
  await until('further checks of both', () => floods.requests >= 4 && trickles.requests >= 4);
  expect(floods.sockets.size).toBeLessThanOrEqual(1);
  expect(trickles.sockets.size).toBeLessThanOrEqual(1);
  // what fits into the buffers of a connection may be on its way
  expect(sent / floods.requests).toBeLessThan(16 << 20);
  expect(verdicts).toEqual([]);
});

test('a policy that no request can be made of makes unhealthy, and breaks nothing', async () => {
  const { checks, verdicts } = scene();
  const well = await backend();
  checks.apply('shop', { ...CHECK, path: '/no such path' }, [route('a', well)]);
  await until('the verdict', () => verdicts.length === 1);
  checks.apply('shop', CHECK, [route('a', well)]);
  await until('the other verdict', () => verdicts.length === 2);
});

test('a hundred instances are asked at different moments, the same ones whatever tables come', async () => {
  const { checks } = scene();
  const interval = 1_000;
  const asked = new Map<string, number[]>();
  const began = performance.now();
  const all = await backend((req, res) => {
    const name = String(req.headers.host).split(':')[0] as string;
    asked.set(name, [...(asked.get(name) ?? []), performance.now() - began]);
    res.end();
  });
  // all of 127.0.0.0/8 is this host
  await all.kill();
  all.server.listen(all.port, '0.0.0.0');
  onTestFinished(() => void all.server.close());
  const routes = Array.from({ length: 100 }, (_, i) => route(`i-${i}`, all, { host: `127.0.0.${i + 1}` }));
  for (let version = 0; ![...asked.values()].some((times) => times.length === 4); version++) {
    const weighted = routes.map((each) => ({ ...each, weight: version % 100 }));
    checks.apply('shop', { ...CHECK, interval }, weighted);
    await until('a few more checks', () => performance.now() - began > version * 100);
  }
  checks.stop();
  expect(asked.size).toBe(100);
  const tenths = new Map<number, number>();
  for (const times of asked.values()) {
    const tenth = Math.floor(((times[0] as number) % interval) / 100);
    tenths.set(tenth, (tenths.get(tenth) ?? 0) + 1);
    for (const [i, time] of times.slice(1).entries())
      expect(Math.abs(time - (times[i] as number) - interval)).toBeLessThan(interval / 2);
  }
  expect(Math.max(...tenths.values())).toBeLessThan(30);
});

test('an instance at another address begins anew, and so does one without checks', async () => {
  const { checks, verdicts, told } = scene();
  const [sick, well] = [await backend(saying(() => 500)), await backend(saying(() => 200))];
  checks.apply('shop', CHECK, [route('a', sick)]);
  await until('the verdict', () => verdicts.length === 1);
  checks.apply('shop', CHECK, [route('a', sick, { weight: 1 })]);
  checks.apply('shop', { ...CHECK, path: '/other' }, [route('a', sick)]);
  expect(checks.unhealthy('shop')).toEqual(['a']);
  checks.apply('shop', CHECK, [route('a', well)]);
  expect(told()).toEqual([false, true]);
  checks.apply('shop', CHECK, [route('a', sick)]);
  await until('the verdict again', () => verdicts.length === 3);
  checks.apply('shop', null, [route('a', sick)]);
  expect(told()).toEqual([false, true, false, true]);
  const asked = sick.requests;
  checks.apply('shop', CHECK, [route('b', well)]);
  await until('checks of the other', () => well.requests > 5);
  expect(sick.requests).toBe(asked);
});

test('after stop nothing is left running, and nothing is told', async () => {
  const { checks, verdicts } = scene();
  const before = timeouts();
  const hung = await server((socket) => void socket.resume());
  let open = 0;
  hung.on('connection', (socket: Socket) => {
    open++;
    socket.on('close', () => open--);
  });
  const services = ['shop', 'site', 'blog'];
  for (const service of services)
    checks.apply(service, { ...CHECK, unhealthy: 1, timeout: 60_000 }, [route('a', hung), route('b', hung)]);
  await until('questions under way', () => open === 6);
  checks.remove('blog');
  await until('the questions of the one removed are dropped', () => open === 4);
  checks.stop();
  await until('all are', () => open === 0);
  await until('no timer of theirs', () => timeouts() <= before);
  expect(verdicts).toEqual([]);
});

function timeouts(): number {
  return process.getActiveResourcesInfo().filter((kind) => kind === 'Timeout').length;
}
