import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import { systemClock } from '../../../src/daemon/system-clock.ts';
import { proofs } from '../../../src/domain/revision.ts';
import { Monitor } from '../../../src/engine/monitor.ts';
import type { VirtualMachine } from '../../../src/hypervisor/port.ts';
import { SimulatedWorld } from '../../../src/hypervisor/simulated/world.ts';
import { httpProber } from '../../../src/probe/http.ts';
import { HEALTH, revision } from '../../support/revisions.ts';

let guest: Server | undefined;

afterEach(() => {
  guest?.close();
});

const NEW = revision(2, { code: 'y' });

/** A guest whose new volume comes into force as soon as it has been asked anything. */
async function guestThatFlips(healthOfTheNew: number): Promise<VirtualMachine> {
  let volume: 'x' | 'y' = 'x';
  guest = createServer(({ url }, response) => {
    if (url === '/health') response.writeHead(volume === 'x' ? 200 : healthOfTheNew).end();
    else response.end(`tree-${volume}`);
    volume = 'y';
  }).listen(0, '127.0.0.1');
  await once(guest, 'listening');
  const { port } = guest.address() as AddressInfo;
  const { number, ...spec } = NEW;
  return {
    spec: { ...spec, id: 'site-1-1', revision: number, rollout: 1, launchedAt: 0 },
    state: 'running',
    runState: 'running',
    endpoint: { host: '127.0.0.1', port },
    volumes: [],
  };
}

const monitor = () =>
  new Monitor(new SimulatedWorld(systemClock).hypervisor, httpProber(), systemClock, () => HEALTH);

describe('a guest that has just been given a new volume', () => {
  it('is not taken for healthy with it by what the old one has answered', async () => {
    const machine = await guestThatFlips(503);
    expect(await monitor().until(machine, proofs(NEW), HEALTH, 200)).toBe(false);
    expect(monitor().reading(machine.spec.id).health).not.toBe('healthy');
  });

  it('is when it answers well with the new one', async () => {
    const machine = await guestThatFlips(200);
    expect(await monitor().until(machine, proofs(NEW), HEALTH, 2000)).toBe(true);
  });
});
