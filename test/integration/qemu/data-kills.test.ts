import { execFileSync, spawnSync } from 'node:child_process';
import { copyFile, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as moment } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { qcow2Facts } from '../../../src/artifact/qcow2.ts';
import type { Hypervisor } from '../../../src/hypervisor/port.ts';
import { livingPid, runDirectory } from '../../../src/hypervisor/qemu/run-directory.ts';
import { logOf, lostFrom, startWriter } from '../../support/cli/writer.ts';
import { answersWith, endpointOf, eventually } from '../../support/qemu/asking.ts';
import { type World, world } from '../../support/qemu/world.ts';
import { DISK } from '../../support/revisions.ts';
import { sampler, seed } from '../../support/seed.ts';

const ROUNDS = Number(process.env.UNIDEPLOY_KILLS ?? 2);
const SWAPS = 50;
const { below } = sampler(seed);

let here: World;
let hypervisor: Hypervisor;
let disk: string;
let launches = 0;

beforeAll(async () => {
  here = await world();
  hypervisor = here.hypervisor();
  disk = join(here.state, 'data', 'site', 'journal', 'disk.qcow2');
});
afterAll(() => here.end());

async function launched(): Promise<{ id: string; url: string }> {
  const id = `site-1-${++launches}`;
  const machine = { cmdline: 'console=ttyS0 quiet panic=-1 ud.wait-volume=0' };
  await hypervisor.launch({ ...here.spec(id, { machine }), data: [DISK] });
  const endpoint = await endpointOf(hypervisor, id);
  await answersWith(endpoint, '/health', 'ok');
  return { id, url: `http://${endpoint.host}:${endpoint.port}` };
}

/** What is done again and again until QEMU dies in the midst of it. */
const DEEDS: Record<string, (n: number) => Promise<unknown>> = {
  writes: async () => {
    await moment(1);
  },
  snapshots: (n) => hypervisor.snapshotData('site', 'journal', `before-${launches}-${n}`, 3),
  growth: async () => {
    const size = (await qcow2Facts(disk))?.size ?? 0;
    await hypervisor.growData('site', 'journal', size + (1 << 20));
  },
};

/** Does it until QEMU is killed at some moment, and tells what a check of the disk finds then. */
async function killedIn(deed: (n: number) => Promise<unknown>, id: string): Promise<string> {
  let done = 0;
  let killed = false;
  const doing = (async () => {
    for (; !killed; done++) await deed(done);
  })().catch(() => {});
  await eventually('it is under way', () => done > 0);
  await moment(below(80));
  const directory = runDirectory(here.state, id);
  killed = true;
  process.kill(livingPid(directory) ?? 0, 'SIGKILL');
  await eventually('QEMU is gone', () => livingPid(directory) === null);
  // What was under way may have gone on with the file itself, and must not be read in the midst of that.
  await doing;
  return await findings();
}

/**
 * Clean; or leaks, which are all that is to be mended. A cluster that a state counts which was never finished is seen as an
 * error, too, as long as it leaks: it is marked as nobody else's.
 */
async function findings(): Promise<string> {
  const copy = `${disk}.looked-at`;
  await copyFile(disk, copy);
  const check = (...words: string[]) =>
    spawnSync('qemu-img', ['check', ...words, '-f', 'qcow2', copy], { encoding: 'utf8' });
  const found = check();
  const mended = check('-r', 'leaks');
  await rm(copy);
  if (found.status === 0) return 'clean';
  if (mended.status === 0) return found.status === 3 ? 'leaks' : `leaks (${found.stderr.split('\n')[0]})`;
  return `damaged: ${found.stderr}`;
}

describe.each(Object.entries(DEEDS))('QEMU killed in the midst of %s', (name, deed) => {
  test(`${ROUNDS} times: nothing acknowledged is lost, and no more than clusters leak`, {
    timeout: 240_000,
  }, async () => {
    const found: string[] = [];
    for (let round = 0; round < ROUNDS; round++) {
      const { id, url } = await launched();
      const writer = startWriter(url, 2);
      await writer.more(10);
      found.push(await killedIn(deed, id));
      await writer.stop();
      const next = await launched();
      expect(lostFrom(await logOf(next.url), writer)).toEqual([]);
      expect(execFileSync('qemu-img', ['check', '-U', '-f', 'qcow2', disk], { encoding: 'utf8' })).toContain(
        'No errors',
      );
      expect((await qcow2Facts(disk))?.snapshots.length).toBeLessThanOrEqual(4);
      for (const gone of [id, next.id]) {
        await hypervisor.stop(gone, 20_000);
        await hypervisor.remove(gone);
      }
    }
    process.stderr.write(`killed in the midst of ${name}: ${found.join(', ')}\n`);
    expect(found.filter((each) => each.startsWith('damaged'))).toEqual([]);
  });
});

test(`${SWAPS} swaps in a row, a state kept before each: one file, no more states than are to stay, no more room`, {
  timeout: 240_000,
}, async () => {
  const { id, url } = await launched();
  const volumes = [await here.volume('one'), await here.volume('other')];
  const used = async () => (await stat(disk)).blocks * 512;
  const after: number[] = [];
  const writer = startWriter(url, 1);
  for (let n = 0; n < SWAPS; n++) {
    await hypervisor.snapshotData('site', 'journal', `before-rollout-${n + 1}`, DISK.keep);
    const [from, to] = n % 2 === 0 ? [volumes[1], volumes[0]] : [volumes[0], volumes[1]];
    if (from && to) await hypervisor.replaceVolume(id, from, to);
    await writer.more(2);
    after.push(await used());
  }
  await writer.stop();
  expect(writer.failures).toEqual([]);
  expect(lostFrom(await logOf(url), writer)).toEqual([]);
  const names = (await qcow2Facts(disk))?.snapshots.map(({ name }) => name) ?? [];
  expect(names.filter((name) => name.startsWith('before-'))).toEqual(
    [48, 49, 50].map((n) => `before-rollout-${n}`),
  );
  const chain = execFileSync('qemu-img', ['info', '-U', '--backing-chain', '--output=json', disk], {
    encoding: 'utf8',
  });
  expect(JSON.parse(chain)).toHaveLength(1);
  // What a state holds that has gone is free again: the room is that of the disk and of those that stay.
  const [early = 0, late = 0] = [after[9], after.at(-1)];
  process.stderr.write(`room after 10 and ${SWAPS} swaps: ${early >> 10} KiB, ${late >> 10} KiB\n`);
  // The journal of its file system, 4 MiB, is written in turn, and each state may hold another version of it.
  expect(late).toBeLessThan((1 + DISK.keep) * (6 << 20));
});
