import { setImmediate as nextTurn } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { DEFAULT_TRAFFIC } from '../../../src/domain/traffic.ts';
import { type Front, Routing } from '../../../src/engine/routing.ts';
import { VirtualClock } from '../../../src/hypervisor/simulated/clock.ts';
import type { DataPlane } from '../../../src/proxy/port.ts';
import { simulatedDataPlane } from '../../../src/proxy/simulated.ts';
import { memoryStore } from '../../../src/store/memory.ts';

const FRONT: Front = { listen: { host: '127.0.0.1', port: 0 }, traffic: DEFAULT_TRAFFIC, preview: null };

/** A data plane that takes its time to remove a service: clients keep their connections for a while. */
function scene() {
  const plane = simulatedDataPlane(new VirtualClock());
  const store = memoryStore(() => null);
  let lastClientLeaves = () => {};
  const left = new Promise<void>((resolve) => {
    lastClientLeaves = resolve;
  });
  const slow: DataPlane = {
    ...plane,
    remove: (service) => plane.remove(service, 0).then(() => left),
    status: () => nextTurn().then(() => plane.status()),
  };
  return { plane, store, routing: new Routing(slow, store), lastClientLeaves };
}

describe('the routing of a service', () => {
  it('is given again to a data plane that has lost it', async () => {
    const { plane, routing } = scene();
    await routing.front('site', FRONT);
    await plane.stop();
    expect(await routing.status('site')).toMatchObject({ service: 'site', ...FRONT });
    expect(await plane.status()).toHaveLength(1);
  });

  it('is changed in the data plane that takes the place of one that has died, with all that it had', async () => {
    const clock = new VirtualClock();
    const plane = simulatedDataPlane(clock, () => 60_000);
    const routing = new Routing(
      plane,
      memoryStore(() => null),
    );
    const routes = [1, 2].map((n) => ({
      instance: `site-1-${n}`,
      revision: 1,
      host: '127.0.0.1',
      port: 4000 + n,
      weight: 100,
    }));
    const work = async () => {
      await routing.front('site', FRONT);
      for (const route of routes) await routing.put('site', route);
      const drained = routing.drained('site', 'site-1-1', 60_000);
      await clock.sleep(10);
      plane.kill();
      await routing.shift('site', { 'site-1-1': 0 });
      return await drained;
    };
    expect(await clock.until(work())).toMatchObject({ cut: 0 });
    expect((await plane.status())[0]?.routes.map(({ weight }) => weight)).toEqual([0, 100]);
  });

  it('is not brought back by whoever asks for it while it is being removed', async () => {
    const { plane, store, routing, lastClientLeaves } = scene();
    await routing.front('site', FRONT);
    const removed = routing.remove('site', 0).then(() => store.removeService('site'));
    await nextTurn();
    const asked = routing.status('site');
    await nextTurn();
    lastClientLeaves();
    await removed;
    expect(await asked).toBeNull();
    expect(await plane.status()).toEqual([]);
  });

  it('is not brought back either while its rollout runs its last hooks, and comes back with the next one', async () => {
    const { plane, routing, lastClientLeaves } = scene();
    await routing.front('site', FRONT);
    lastClientLeaves();
    const removed = routing.remove('site', 0);
    const asked = routing.status('site');
    await removed;
    expect(await asked).toBeNull();
    expect(await routing.status('site')).toBeNull();
    expect(await plane.status()).toEqual([]);
    await routing.front('site', FRONT);
    expect(await routing.status('site')).toMatchObject({ service: 'site', ...FRONT });
  });

  it('has requests wait from its last instance to its next one, and refuses them where none is to come', async () => {
    const { plane, routing } = scene();
    const route = { instance: 'site-1-1', revision: 1, host: '127.0.0.1', port: 4000, weight: 100 };
    await routing.front('site', FRONT);
    await routing.put('site', route);
    await routing.drop('site', 'site-1-1', 'wait');
    expect((await plane.status())[0]).toMatchObject({ hold: true, routes: [] });
    await routing.put('site', { ...route, instance: 'site-2-1' });
    expect((await plane.status())[0]).toMatchObject({ hold: false, routes: [{ instance: 'site-2-1' }] });
    await routing.drop('site', 'site-2-1', 'refuse');
    expect((await plane.status())[0]).toMatchObject({ hold: false, routes: [] });
  });

  it('is changed in front without touching what is behind, and not at all where nothing changes', async () => {
    const { plane, routing, store } = scene();
    const route = { instance: 'site-1-1', revision: 1, host: '127.0.0.1', port: 4000, weight: 100 };
    await routing.front('site', FRONT);
    await routing.put('site', route);
    const traffic = { ...DEFAULT_TRAFFIC, accessLog: true };
    await routing.front('site', { ...FRONT, traffic, preview: 2 });
    const [table] = await plane.status();
    expect(table).toMatchObject({ traffic, preview: 2, routes: [route] });
    await routing.front('site', { ...FRONT, traffic: { ...traffic }, preview: 2 });
    await routing.preview('site', 2);
    expect((await plane.status())[0]?.version).toBe(table?.version);
    await routing.preview('site', null);
    expect(store.table('site')).toMatchObject({ traffic, preview: null, routes: [route] });
  });
});
