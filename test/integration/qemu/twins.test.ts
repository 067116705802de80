import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Copying, Hypervisor, InstanceSpec } from '../../../src/hypervisor/port.ts';
import { httpProber } from '../../../src/probe/http.ts';
import { answersWith, ask, endpointOf } from '../../support/qemu/asking.ts';
import { type World, world } from '../../support/qemu/world.ts';

interface Status {
  boot_id: string;
  id: string;
  mac: string;
  time_ms: number;
  random: string;
}

let here: World;
let hypervisor: Hypervisor;
let key: string;
const spec = (id: string): InstanceSpec =>
  here.spec(id, { machine: { cmdline: 'console=ttyS0 quiet panic=-1 ud.wait-volume=0' } });

beforeAll(async () => {
  here = await world();
  hypervisor = here.hypervisor();
  ({ key } = await hypervisor.templateFor(spec('site-1-1')));
  await hypervisor.makeTemplate(spec('site-1-1'), async ({ endpoint }) => {
    if (endpoint) await answersWith(endpoint, '/health', 'ok');
  });
});
afterAll(() => here.end());

/** Starts copies and asks each, as the first thing it does, who it is. */
async function copies(ids: string[], wakeOf: (id: string) => Copying['wake']): Promise<Status[]> {
  const told: Status[] = [];
  for (const id of ids) {
    await hypervisor.launch(spec(id), { key, wake: wakeOf(id) });
    const { status, body } = await ask(await endpointOf(hypervisor, id), '/.unideploy/status', 5_000);
    expect(status).toBe(200);
    told.push(JSON.parse(body) as Status);
  }
  return told;
}

describe('copies of one guest', () => {
  // Of their random numbers nothing is certain then: the kernel mixes in something new when it sees fit.
  test('are twins, with one name and one address, where nobody wakes them', async () => {
    const [first, second] = await copies(['site-1-1', 'site-1-2'], () => async () => {});
    expect(second).toMatchObject({ id: first?.id, mac: first?.mac });
  });

  test('draw numbers of their own, and have names, addresses and clocks of their own, when they are woken', async () => {
    const prober = httpProber();
    const ids = ['site-2-1', 'site-2-2', 'site-2-3'];
    const macs: string[] = [];
    const told = await copies(ids, (id) => async ({ endpoint, mac }) => {
      macs.push(mac);
      // A day ahead: a clock that is right by chance would show nothing.
      const identity = { id, mac, time: Date.now() + 86_400_000 };
      const answer = await prober.wake(endpoint, { path: '/.unideploy/wake', identity, timeout: 5_000 });
      expect(answer).toMatchObject({ heard: true });
    });
    const now = Date.now() + 86_400_000;
    expect(new Set(told.map(({ random }) => random)).size).toBe(3);
    expect(told.map(({ id }) => id)).toEqual(ids);
    expect(told.map(({ mac }) => mac)).toEqual(macs);
    expect(new Set(macs).size).toBe(3);
    for (const { time_ms } of told) expect(Math.abs(time_ms - now)).toBeLessThan(5_000);
    const { body } = await ask(await endpointOf(hypervisor, 'site-2-3'), '/.unideploy/status', 5_000);
    expect(Math.abs((JSON.parse(body) as Status).time_ms - 86_400_000 - Date.now())).toBeLessThan(1_000);
  });

  test('that are told nothing of use do not hear it', async () => {
    const identity = { id: 'x' } as never;
    const prober = httpProber();
    const endpoint = await endpointOf(hypervisor, 'site-2-1');
    const answer = await prober.wake(endpoint, { path: '/.unideploy/wake', identity, timeout: 5_000 });
    expect(answer).toEqual({ heard: false, summary: '400 expected id, mac, time and entropy' });
    expect(await prober.wake(endpoint, { path: '/health', identity, timeout: 5_000 })).toMatchObject({
      heard: false,
    });
  });
});
