import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { CodeVolume } from '../../../src/domain/revision.ts';
import type { Hypervisor } from '../../../src/hypervisor/port.ts';
import { connectQmp } from '../../../src/hypervisor/qemu/qmp/session.ts';
import { runDirectory } from '../../../src/hypervisor/qemu/run-directory.ts';
import { answersWith, endpointOf, see } from '../../support/qemu/asking.ts';
import { MACHINE, type World, world } from '../../support/qemu/world.ts';

const PATH = '/.unideploy/revision';
let here: World;
let first: CodeVolume;
let second: CodeVolume;

beforeAll(async () => {
  here = await world();
  first = await here.volume('first');
  second = await here.volume('second');
});
afterAll(() => here.end());

describe('a guest that holds one volume at a time', () => {
  test('replace gives it the other one, and repeating it changes nothing', async () => {
    const hypervisor = here.hypervisor();
    const machine = { cmdline: `${MACHINE.cmdline} ud.mount=single` };
    await hypervisor.launch(here.spec('single-1-1', { machine, volumes: [first] }));
    const endpoint = await endpointOf(hypervisor, 'single-1-1');
    await answersWith(endpoint, PATH, 'first');
    const timings: string[] = [];
    for (const [from, to] of [
      [first, second],
      [second, first],
      [first, second],
    ] as const) {
      const began = performance.now();
      await hypervisor.replaceVolume('single-1-1', from, to);
      const replaced = performance.now();
      await answersWith(endpoint, PATH, to.revision ?? '');
      timings.push([replaced - began, performance.now() - began].map(Math.round).join('/'));
    }
    console.log(`replaced/served ms: ${timings.join(' ')}`);
    await hypervisor.replaceVolume('single-1-1', first, second);
    expect(await volumesOf(hypervisor, 'single-1-1')).toEqual([second.digest]);
    await hypervisor.stop('single-1-1', 0);
  });
});

describe('volumes on root ports', () => {
  const ID = 'ports-1-1';
  let hypervisor: Hypervisor;

  beforeAll(async () => {
    hypervisor = here.hypervisor({ unplugMs: 3_000 });
    await hypervisor.launch(here.spec(ID, { machine: { volumes: 'virtio-blk' }, volumes: [first] }));
    await answersWith(await endpointOf(hypervisor, ID), PATH, 'first');
  });

  test('more swaps than there are ports', async () => {
    const endpoint = await endpointOf(hypervisor, ID);
    const timings: string[] = [];
    for (let swap = 0; swap < 10; swap++) {
      const [from, to] = swap % 2 === 0 ? [first, second] : [second, first];
      const began = performance.now();
      await hypervisor.attachVolume(ID, to);
      await answersWith(endpoint, PATH, to.revision ?? '');
      const served = performance.now();
      await hypervisor.detachVolume(ID, from);
      timings.push([served - began, performance.now() - served].map(Math.round).join('/'));
      expect(await volumesOf(hypervisor, ID)).toEqual([to.digest]);
    }
    console.log(`root ports, served/detach ms: ${timings.join(' ')}`);
  });

  test('a guest that never lets go keeps the volume; asking again later works', async () => {
    const debug = await connectQmp(runDirectory(here.state, ID).debug, { deadlineMs: 5_000 });
    await debug.execute('stop');
    expect(await see(hypervisor, ID)).toMatchObject({ runState: 'paused' });
    const unanswered = hypervisor.detachVolume(ID, first);
    await expect(unanswered).rejects.toMatchObject({ code: 'UD_VOLUME_UNPLUG' });
    expect(await volumesOf(hypervisor, ID)).toEqual([first.digest]);
    await debug.execute('cont');
    debug.close();
    await hypervisor.detachVolume(ID, first);
    expect(await volumesOf(hypervisor, ID)).toEqual([]);
  });

  test('all ports taken is an error with a way out', async () => {
    const volumes = await Promise.all(Array.from({ length: 9 }, (_, n) => here.volume(`many-${n}`, 'many')));
    const last = volumes.pop();
    if (last === undefined) throw new Error('nothing made');
    for (const volume of volumes) await hypervisor.attachVolume(ID, volume);
    await expect(hypervisor.attachVolume(ID, last)).rejects.toMatchObject({ code: 'UD_VOLUME_ATTACH' });
    expect(await volumesOf(hypervisor, ID)).toHaveLength(8);
  });
});

async function volumesOf(hypervisor: Hypervisor, id: string): Promise<string[]> {
  return (await see(hypervisor, id)).volumes.map(({ digest }) => digest);
}
