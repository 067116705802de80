import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Endpoint, Hypervisor } from '../../../src/hypervisor/port.ts';
import { readAttachments } from '../../../src/hypervisor/qemu/attachments.ts';
import { volumeNode } from '../../../src/hypervisor/qemu/command-line.ts';
import { blockdevAdd, queryNodes } from '../../../src/hypervisor/qemu/qmp/commands.ts';
import { connectQmp } from '../../../src/hypervisor/qemu/qmp/session.ts';
import { lend } from '../../../src/hypervisor/qemu/reach.ts';
import { runDirectory, writeAtomically } from '../../../src/hypervisor/qemu/run-directory.ts';
import { answersWith, ask, endpointOf, see } from '../../support/qemu/asking.ts';
import { type World, world } from '../../support/qemu/world.ts';

const PATH = '/.unideploy/revision';

describe('volumes on virtio-scsi, one guest', () => {
  let here: World;
  let hypervisor: Hypervisor;
  let endpoint: Endpoint;

  beforeAll(async () => {
    here = await world();
    hypervisor = here.hypervisor();
    const began = performance.now();
    await hypervisor.launch(here.spec('site-1-1', { volumes: [await here.volume('first')] }));
    endpoint = await endpointOf(hypervisor, 'site-1-1');
    await answersWith(endpoint, PATH, 'first');
    console.log(`boot to first answer: ${Math.round(performance.now() - began)} ms`);
  });
  afterAll(() => here.end());

  test('a volume from boot is served and listed', async () => {
    const first = await here.volume('first');
    expect((await see(hypervisor, 'site-1-1')).volumes).toEqual([{ name: 'code', digest: first.digest }]);
  });

  test('attaching twice is attaching once; detaching what is gone succeeds', async () => {
    const extra = await here.volume('extra', 'more');
    await hypervisor.attachVolume('site-1-1', extra);
    await hypervisor.attachVolume('site-1-1', extra);
    expect((await see(hypervisor, 'site-1-1')).volumes.map(({ name }) => name)).toEqual(['code', 'more']);
    await hypervisor.detachVolume('site-1-1', extra);
    await hypervisor.detachVolume('site-1-1', extra);
    expect((await see(hypervisor, 'site-1-1')).volumes.map(({ name }) => name)).toEqual(['code']);
  });

  test('an overlap swap serves the new revision, and something at every moment', async () => {
    const before = (await see(hypervisor, 'site-1-1')).volumes[0];
    if (before === undefined) throw new Error('nothing attached');
    const second = await here.volume('second');
    let going = true;
    const answers: string[] = [];
    const polling = (async () => {
      while (going) {
        const { status, body } = await ask(endpoint, PATH, 5_000);
        answers.push(`${status} ${body}`);
      }
    })();
    await hypervisor.attachVolume('site-1-1', second);
    await answersWith(endpoint, PATH, 'second');
    await hypervisor.detachVolume('site-1-1', before);
    await answersWith(endpoint, PATH, 'second');
    going = false;
    await polling;
    expect(new Set(answers)).toEqual(new Set(['200 first', '200 second']));
    expect((await see(hypervisor, 'site-1-1')).volumes).toEqual([{ name: 'code', digest: second.digest }]);
  });

  test('no identifier is used twice in ten swaps, and going back to old bytes is one more volume', async () => {
    const seen: number[] = [];
    const timings: string[] = [];
    const directory = runDirectory(here.state, 'site-1-1');
    for (let swap = 0; swap < 10; swap++) {
      const to = await here.volume(swap % 2 === 0 ? 'even' : 'odd');
      const [from] = (await see(hypervisor, 'site-1-1')).volumes;
      if (from === undefined) throw new Error('nothing attached');
      const began = performance.now();
      await hypervisor.attachVolume('site-1-1', to);
      const attached = performance.now();
      seen.push(...(await readAttachments(directory)).map(({ number }) => number).slice(-1));
      await answersWith(endpoint, PATH, to.revision ?? '');
      const served = performance.now();
      await hypervisor.detachVolume('site-1-1', from);
      timings.push([attached - began, served - began, performance.now() - served].map(Math.round).join('/'));
    }
    console.log(`attach/served/detach ms: ${timings.join(' ')}`);
    expect(new Set(seen).size).toBe(10);
    expect((await see(hypervisor, 'site-1-1')).volumes).toHaveLength(1);
  });

  test('SCSI targets run out at 255 and LUNs follow', async () => {
    const directory = runDirectory(here.state, 'site-1-1');
    const made = await readAttachments(directory);
    await writeAtomically(directory.attachments, { next: 255, made });
    for (const revision of ['target-255', 'target-0-lun-1', 'target-1-lun-1']) {
      const [from] = (await see(hypervisor, 'site-1-1')).volumes;
      if (from === undefined) throw new Error('nothing attached');
      await hypervisor.attachVolume('site-1-1', await here.volume(revision));
      await answersWith(endpoint, PATH, revision, 10_000);
      await hypervisor.detachVolume('site-1-1', from);
      await answersWith(endpoint, PATH, revision, 10_000);
    }
    expect((await readAttachments(directory)).map(({ number }) => number)).toContain(257);
  });

  test('a file that a dead controller left open is closed by the next change', async () => {
    const { digest } = await here.volume('left open');
    const debug = await connectQmp(runDirectory(here.state, 'site-1-1').debug, { deadlineMs: 5_000 });
    await lend(runDirectory(here.state, 'site-1-1'), digest, here.artifactPath(digest));
    await blockdevAdd(debug, volumeNode({ number: 200, name: 'code', digest, format: 'squashfs' }));
    await hypervisor.close();
    hypervisor = here.hypervisor();
    expect((await see(hypervisor, 'site-1-1')).volumes).toHaveLength(1);
    const extra = await here.volume('extra', 'more');
    await hypervisor.attachVolume('site-1-1', extra);
    expect(await queryNodes(debug)).not.toContain(`d${digest.slice(0, 12)}.200`);
    await hypervisor.detachVolume('site-1-1', extra);
    debug.close();
  });

  test('a file that is not in the store is refused and leaves nothing behind', async () => {
    const before = (await see(hypervisor, 'site-1-1')).volumes;
    const gone = { ...(await here.volume('gone')), digest: 'f'.repeat(64) };
    await expect(hypervisor.attachVolume('site-1-1', gone)).rejects.toMatchObject({
      code: 'UD_VOLUME_ATTACH',
    });
    expect((await see(hypervisor, 'site-1-1')).volumes).toEqual(before);
  });

  test('an unknown instance says so', async () => {
    const volume = await here.volume('first');
    await expect(hypervisor.attachVolume('site-9-9', volume)).rejects.toMatchObject({
      code: 'UD_UNKNOWN_INSTANCE',
    });
  });
});
