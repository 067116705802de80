import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, onTestFinished, test } from 'vitest';
import type { Fence } from '../../../src/domain/fence.ts';
import { embeddedDataPlane } from '../../../src/proxy/embedded/client.ts';
import { haproxyDataPlane } from '../../../src/proxy/haproxy/index.ts';
import type { DataPlane } from '../../../src/proxy/port.ts';
import { processesOf } from '../../support/cli/processes.ts';
import { eventually } from '../../support/qemu/asking.ts';
import { table } from './home.ts';
import { backend, openWire, route, until } from './scene.ts';

/** Of a controller that does not know yet that it is late: only the data plane refuses it. */
const unaware = (token: number): Fence => ({ token, check: () => {} });
const FENCED = { code: 'UD_FENCED' };

type Engine = 'embedded' | 'haproxy';

/** Two controllers of one data plane, the older of which has set it up; the newest ends it. */
async function controllers(engine: Engine): Promise<{ late: DataPlane; newer: DataPlane; state: string }> {
  const state = await mkdtemp(join(tmpdir(), 'ud-'));
  const of = (token: number) =>
    engine === 'embedded'
      ? embeddedDataPlane({ state, workers: 1, fence: unaware(token) })
      : haproxyDataPlane({ state, fence: unaware(token) });
  onTestFinished(async () => {
    await of(99).stop();
    await until('no process is left over', () => processesOf(state).length === 0, 40_000);
    await rm(state, { recursive: true });
  });
  const late = of(7);
  await late.ensure();
  await late.apply(table(1, { routes: [route('a', await backend('a'))] }));
  return { late, newer: of(8), state };
}

describe.each(['embedded', 'haproxy'] as const)('the data plane %s', (engine) => {
  test('takes no order of a controller that is late, and goes on as the newer one had it', async () => {
    const { late, newer } = await controllers(engine);
    const [served] = await newer.status();
    const { requests: _none, ...before } = await newer.apply(
      table(2, { routes: [route('b', await backend('b'))], listen: served?.listen ?? { host: '', port: 0 } }),
    );
    await expect(late.apply(table(3, { hold: true }))).rejects.toMatchObject(FENCED);
    await expect(late.apply(table(1, { service: 'other' }))).rejects.toMatchObject(FENCED);
    await expect(late.remove('shop', 0)).rejects.toMatchObject(FENCED);
    await expect(late.upgrade()).rejects.toMatchObject(FENCED);
    await expect(late.stop()).rejects.toMatchObject(FENCED);
    expect(await newer.status()).toEqual([expect.objectContaining(before)]);
    await newer.apply(table(3, { listen: before.listen }));
  });
});

describe('the data plane embedded', () => {
  test('ends the drains of a late controller when the newer one is heard, and cuts nothing', async () => {
    const { late, newer } = await controllers('embedded');
    const [status] = await late.status();
    const slow = await backend(() => undefined);
    const applied = await late.apply(
      table(2, { routes: [route('slow', slow)], listen: status?.listen ?? { host: '', port: 0 } }),
    );
    const client = await openWire(applied.listen.port);
    client.socket.write('GET / HTTP/1.1\r\nhost: a\r\n\r\n');
    await eventually('it is in flight', async () => (await late.status())[0]?.routes[0]?.inFlight === 1);
    const draining = late.drained('shop', 'slow', 60_000);
    draining.catch(() => {});
    await newer.status();
    await expect(draining).rejects.toMatchObject(FENCED);
    await expect(late.drained('shop', 'slow', 0)).rejects.toMatchObject(FENCED);
    expect((await newer.status())[0]?.routes[0]?.inFlight).toBe(1);
    expect(client.closed()).toBe(false);
    client.socket.destroy();
  });

  test('hands its newest token to the one that takes its place', async () => {
    const { late, newer } = await controllers('embedded');
    await newer.upgrade();
    await expect(late.apply(table(9, {}))).rejects.toMatchObject(FENCED);
  });

  test('that was started by the newer one has never heard of the late one, and refuses it', async () => {
    const { late, newer } = await controllers('embedded');
    await newer.stop();
    await newer.ensure();
    await expect(late.apply(table(9, {}))).rejects.toMatchObject(FENCED);
  });
});
