import { readdirSync } from 'node:fs';
import { readFile, rename } from 'node:fs/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Fence } from '../../../src/domain/fence.ts';
import type { CodeVolume } from '../../../src/domain/revision.ts';
import type { Hypervisor } from '../../../src/hypervisor/port.ts';
import { runDirectory } from '../../../src/hypervisor/qemu/run-directory.ts';
import { see } from '../../support/qemu/asking.ts';
import { type World, world } from '../../support/qemu/world.ts';

const ID = 'site-1-1';
/** Of a controller that does not know yet that it is late: only the run directory refuses it. */
const unaware = (token: number): Fence => ({ token, check: () => {} });
const FENCED = { code: 'UD_FENCED' };

let here: World;
let late: Hypervisor;
let volume: CodeVolume;
let other: CodeVolume;

beforeAll(async () => {
  here = await world();
  late = here.hypervisor({ fence: unaware(7) });
  [volume, other] = [await here.volume('first'), await here.volume('second')];
  await late.launch(here.spec(ID, { volumes: [volume] }));
});
afterAll(() => here.end());

function marks(): string[] {
  return readdirSync(runDirectory(here.state, ID).path).filter((name) => name.startsWith('owner.'));
}

/** All that a late controller could change. */
async function reality() {
  const { path, pid, attachments } = runDirectory(here.state, ID);
  const looker = here.hypervisor({ fence: unaware(99) });
  const seen = await see(looker, ID);
  await looker.close();
  const files = readdirSync(path).filter((name) => !name.startsWith('owner.'));
  return { seen, files, pid: await readFile(pid, 'utf8'), ledger: await readFile(attachments, 'utf8') };
}

describe('a guest', () => {
  test('is under the command of the controller that launched it', () => {
    expect(marks()).toEqual(['owner.7']);
  });

  test('is adopted by a newer one while the other, stopped, still holds its monitor', async () => {
    const newer = here.hypervisor({ fence: unaware(8) });
    expect(await see(newer, ID)).toMatchObject({ state: 'running' });
    await newer.attachVolume(ID, other);
    await newer.detachVolume(ID, volume);
    expect((await see(newer, ID)).volumes).toEqual([{ name: 'code', digest: other.digest }]);
    expect(marks()).toEqual(['owner.8']);
    await newer.close();
  });

  test('of before there were spare monitors is adopted by that of people', async () => {
    const { spare } = runDirectory(here.state, ID);
    await rename(spare, `${spare}.away`);
    const newer = here.hypervisor({ fence: unaware(8) });
    await newer.attachVolume(ID, volume);
    await newer.detachVolume(ID, volume);
    await newer.close();
    await rename(`${spare}.away`, spare);
  });

  test('refuses everything that the late one has in mind', async () => {
    const before = await reality();
    await expect(late.attachVolume(ID, volume)).rejects.toMatchObject(FENCED);
    await expect(late.detachVolume(ID, other)).rejects.toMatchObject(FENCED);
    await expect(late.replaceVolume(ID, other, volume)).rejects.toMatchObject(FENCED);
    await expect(late.stop(ID, 0)).rejects.toMatchObject(FENCED);
    await expect(late.launch(here.spec(ID))).rejects.toMatchObject(FENCED);
    expect(await reality()).toEqual(before);
  });

  test('that has stopped is neither started anew nor forgotten by the late one', async () => {
    const newest = here.hypervisor({ fence: unaware(99) });
    await newest.stop(ID, 0);
    const files = readdirSync(runDirectory(here.state, ID).path).sort();
    await expect(late.launch(here.spec(ID))).rejects.toMatchObject(FENCED);
    await expect(late.remove(ID)).rejects.toMatchObject(FENCED);
    expect(readdirSync(runDirectory(here.state, ID).path).sort()).toEqual(files);
    await newest.remove(ID);
    expect(await newest.list()).toEqual([]);
  });
});
