import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { chmod, mkdir, readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { Progress } from '../../../src/domain/progress.ts';
import type { DataVolume } from '../../../src/domain/revision.ts';
import type { CopyMade, CopyOrder, Endpoint, Hypervisor } from '../../../src/hypervisor/port.ts';
import { livingPid, runDirectory } from '../../../src/hypervisor/qemu/run-directory.ts';
import { answersWith, endpointOf, eventually } from '../../support/qemu/asking.ts';
import { append, heldBy, journal, writers } from '../../support/qemu/journal.ts';
import { type World, world } from '../../support/qemu/world.ts';

const VOLUME: DataVolume = {
  ...{ name: 'journal', size: 256 << 20, filesystem: 'ext4', snapshot: 'never', keep: 3 },
  ...{ freeze: '/data/freeze', thaw: '/data/thaw' },
};
const SLOW = 4 << 20;

let here: World;
let hypervisor: Hypervisor;
let folder: string;
let disk: string;
let number = 0;

beforeAll(async () => {
  here = await world();
  hypervisor = here.hypervisor();
  folder = join(here.state, 'copies');
  disk = join(here.state, 'data', 'site', 'journal', 'disk.qcow2');
  await mkdir(folder, { recursive: true });
});
afterAll(() => here.end());

async function launched(id: string): Promise<Endpoint> {
  const machine = { cmdline: 'console=ttyS0 quiet panic=-1 ud.wait-volume=0' };
  await hypervisor.launch({ ...here.spec(id, { machine }), data: [VOLUME] });
  const endpoint = await endpointOf(hypervisor, id);
  await answersWith(endpoint, '/health', 'ok');
  return endpoint;
}

async function copied(
  order: Partial<CopyOrder> = {},
  by = hypervisor,
  volume = 'journal',
): Promise<CopyMade & { id: string }> {
  const { id = String(++number), base = null } = order;
  const last = base?.id ?? lastOf.get(volume) ?? null;
  const made = await by.copyData('site', volume, {
    ...{ id, to: join(folder, `${id}.qcow2`), base, last, rate: 0 },
    ...{ around: (start) => start(), report: () => {}, signal: new AbortController().signal },
    ...order,
    last,
  });
  // As those that are kept.
  await chmod(imageOf(id), 0o400);
  lastOf.set(volume, id);
  return { ...made, id };
}

/** the last copy of each volume */
const lastOf = new Map<string, string>();

const imageOf = (id: string) => join(folder, `${id}.qcow2`);
const check = (image: string) => execFileSync('qemu-img', ['check', '-U', image], { encoding: 'utf8' });

/** What is left of copies in a run directory. */
async function debris(id: string): Promise<string[]> {
  return await readdir(join(runDirectory(here.state, id).path, 'copies')).catch(() => []);
}

let first: string;

test('while clients write, a copy has every write that was acknowledged before it began, and is whole', async () => {
  const endpoint = await launched('site-1-1');
  const writing = writers(() => endpoint);
  await eventually('writes', () => writing.acknowledged.length > 50);
  let before: string[] = [];
  const heard: Progress[] = [];
  const made = await copied({
    report: (each) => heard.push(each),
    around: async (start) => {
      before = [...writing.acknowledged];
      await start();
    },
  });
  first = made.id;
  await writing.stop();
  expect(made).toMatchObject({ instance: 'site-1-1', revision: 1, size: VOLUME.size, on: null });
  expect(heard.at(-1)).toEqual({ done: VOLUME.size, total: VOLUME.size });
  const { lines } = await heldBy(imageOf(made.id));
  expect(new Set(lines)).toEqual(new Set([...lines, ...before]));
  expect(check(imageOf(made.id))).toContain('No errors');
  expect(await stat(imageOf(made.id))).toMatchObject({ uid: process.getuid?.(), nlink: 1 });
  expect(await debris('site-1-1')).toEqual([]);
});

test('the next is made of it and of what has changed, and is no less whole', async () => {
  const endpoint = await endpointOf(hypervisor, 'site-1-1');
  await append(endpoint, 'between');
  const lines = await journal(endpoint);
  const made = await copied({ base: { id: first, file: imageOf(first) } });
  expect(made).toMatchObject({ on: first, why: null });
  expect(made.copied).toBeLessThan(VOLUME.size / 4);
  expect((await heldBy(imageOf(made.id))).lines).toEqual(lines);
  first = made.id;
});

test('a guest that holds still leaves a file system in order', async () => {
  const endpoint = await endpointOf(hypervisor, 'site-1-1');
  const tell = (path: string) => fetch(`http://${endpoint.host}:${endpoint.port}${path}`, { method: 'POST' });
  await append(endpoint, 'unsettled');
  const made = await copied({
    base: { id: first, file: imageOf(first) },
    around: async (start) => {
      await tell('/data/freeze');
      await start();
      await tell('/data/thaw');
    },
  });
  expect(await heldBy(imageOf(made.id))).toMatchObject({ isClean: true });
  first = made.id;
});

test('one that is cancelled leaves nothing, and the one after it misses nothing', async () => {
  const endpoint = await endpointOf(hypervisor, 'site-1-1');
  const end = new AbortController();
  const cancelled = copied({
    rate: SLOW,
    signal: end.signal,
    report: ({ done }) => done > 0 && end.abort(),
  });
  await expect(cancelled).rejects.toMatchObject({ code: 'UD_ABORTED' });
  expect(existsSync(imageOf(String(number)))).toBe(false);
  expect(await debris('site-1-1')).toEqual([]);
  await append(endpoint, 'after the cancelled one');
  const lines = await journal(endpoint);
  const made = await copied({ base: { id: first, file: imageOf(first) } });
  expect((await heldBy(imageOf(made.id))).lines).toEqual(lines);
});

test('a whole one that is cut short takes nothing from the next', async () => {
  const last = lastOf.get('journal') ?? '';
  const end = new AbortController();
  const cut = copied({ rate: SLOW, signal: end.signal, report: ({ done }) => done > 0 && end.abort() });
  await expect(cut).rejects.toMatchObject({ code: 'UD_ABORTED' });
  expect(await copied({ base: { id: last, file: imageOf(last) } })).toMatchObject({ on: last });
});

test('two at once are refused; a state that is to be kept goes first', async () => {
  let begun = () => {};
  const underWay = new Promise<void>((resolve) => {
    begun = resolve;
  });
  const slow = copied({ rate: SLOW, report: ({ done }) => done > 0 && begun() });
  slow.catch(() => {});
  await underWay;
  await expect(copied()).rejects.toMatchObject({ code: 'UD_LOCKED' });
  await hypervisor.snapshotData('site', 'journal', 'before-rollout-9', 3);
  await expect(slow).rejects.toMatchObject({ code: 'UD_COPY_FAILED' });
  expect((await hypervisor.dataVolumes())[0]?.snapshots).toMatchObject([{ name: 'before-rollout-9' }]);
});

test('a target that takes no more is told, and the guest goes on writing', async () => {
  // As this user: nobody else's limits can be set from here.
  const own = here.hypervisor({ users: { why: 'its limits are set from here' } });
  const machine = { cmdline: 'console=ttyS0 quiet panic=-1 ud.wait-volume=0' };
  await own.launch({ ...here.spec('site-9-1', { machine }), data: [{ ...VOLUME, name: 'other' }] });
  const endpoint = await endpointOf(own, 'site-9-1');
  await answersWith(endpoint, '/health', 'ok');
  // The disk has its clusters already: only the copy is to find no room.
  for (let n = 0; n < 5; n++) await append(endpoint, 'x'.repeat(4000));
  const most = Math.ceil((await stat(join(here.state, 'data', 'site', 'other', 'disk.qcow2'))).size / 2);
  const pid = String(livingPid(runDirectory(here.state, 'site-9-1')));
  execFileSync('prlimit', ['--pid', pid, `--fsize=${most}:`]);
  await expect(copied({}, own, 'other')).rejects.toMatchObject({ code: 'UD_DISK_FULL' });
  expect(await debris('site-9-1')).toEqual([]);
  execFileSync('prlimit', ['--pid', pid, '--fsize=1073741824:']);
  await append(endpoint, 'goes on');
  const seen = (await own.list()).find(({ spec }) => spec.id === 'site-9-1');
  expect(seen).toMatchObject({ runState: 'running' });
  await own.stop('site-9-1', 0);
});

test('what a controller that died has left in a machine goes when the next one finds it', async () => {
  const before = here.hypervisor();
  let begun = () => {};
  const underWay = new Promise<void>((resolve) => {
    begun = resolve;
  });
  await hypervisor.close();
  const lost = copied({ rate: SLOW, report: ({ done }) => done > 0 && begun() }, before);
  lost.catch(() => {});
  await underWay;
  expect(await debris('site-1-1')).toHaveLength(1);
  // Its sessions end, as those of a process that is killed.
  await before.close();
  await expect(lost).rejects.toBeInstanceOf(Error);
  hypervisor = here.hypervisor();
  const made = await copied();
  expect(made.instance).toBe('site-1-1');
  expect(await debris('site-1-1')).toEqual([]);
  first = made.id;
});

test('a QEMU that is killed in the midst of one loses nothing that was acknowledged, and damages nothing', async () => {
  const endpoint = await endpointOf(hypervisor, 'site-1-1');
  const writing = writers(() => endpoint);
  await eventually('writes', () => writing.acknowledged.length > 20);
  const pid = livingPid(runDirectory(here.state, 'site-1-1')) ?? 0;
  const killed = copied({
    rate: SLOW,
    report: ({ done }) => void (done > 0 && process.kill(pid, 'SIGKILL')),
  });
  await expect(killed).rejects.toMatchObject({ code: 'UD_COPY_FAILED' });
  expect(existsSync(imageOf(String(number)))).toBe(false);
  await writing.stop();
  await hypervisor.stop('site-1-1', 0);
  execFileSync('qemu-img', ['check', '-r', 'leaks', disk]);
  expect(check(disk)).toContain('No errors');
  const next = await launched('site-2-1');
  const lines = new Set(await journal(next));
  expect(writing.acknowledged.filter((text) => !lines.has(text))).toEqual([]);
  const made = await copied({ base: { id: first, file: imageOf(first) } });
  expect(made).toMatchObject({ on: null, why: expect.stringContaining(first) });
  first = made.id;
});

test('a disk that no instance has is copied, too; the next live one is made of that', async () => {
  await hypervisor.stop('site-2-1', 20_000);
  const heard: Progress[] = [];
  const made = await copied({ report: (each) => heard.push(each) });
  expect(made).toMatchObject({ instance: null, on: null, size: VOLUME.size });
  expect(execFileSync('qemu-img', ['compare', disk, imageOf(made.id)], { encoding: 'utf8' })).toContain(
    'identical',
  );
  const endpoint = await launched('site-3-1');
  await append(endpoint, 'later');
  const lines = await journal(endpoint);
  const next = await copied({ base: { id: made.id, file: imageOf(made.id) } });
  expect(next.on).toBe(made.id);
  expect((await heldBy(imageOf(next.id))).lines).toEqual(lines);
});

test('an instance that is to have the disk waits for no copy of it', async () => {
  await hypervisor.stop('site-3-1', 20_000);
  let begun = () => {};
  const underWay = new Promise<void>((resolve) => {
    begun = resolve;
  });
  const slow = copied({ rate: SLOW, report: ({ done }) => done > 0 && begun() });
  slow.catch(() => {});
  await underWay;
  const endpoint = await launched('site-3-2');
  await expect(slow).rejects.toMatchObject({ code: 'UD_COPY_FAILED' });
  await append(endpoint, 'goes on');
  expect(await readdir(join(here.state, 'data', 'site', 'journal'))).toEqual(['disk.qcow2', 'volume.json']);
});

test('after a disk has become what it was, the next copy is whole', async () => {
  const last = lastOf.get('journal') ?? '';
  await hypervisor.snapshotData('site', 'journal', 'by-hand', 3);
  await hypervisor.stop('site-3-2', 20_000);
  await hypervisor.revertData('site', 'journal', 'by-hand', 'before-revert-1');
  await launched('site-4-1');
  const made = await copied({ base: { id: last, file: imageOf(last) } });
  expect(made).toMatchObject({ on: null, why: expect.stringContaining(last) });
});

test('a volume that grew is copied at its new size', async () => {
  const last = String(number);
  await hypervisor.growData('site', 'journal', 320 << 20);
  const made = await copied({ base: { id: last, file: imageOf(last) } });
  expect(made).toMatchObject({ on: last, size: 320 << 20 });
});

test('a volume that is not there is told so', async () => {
  const order = {
    id: 'x',
    to: imageOf('x'),
    base: null,
    last: null,
    rate: 0,
    around: async () => {},
    report: () => {},
  };
  const signal = new AbortController().signal;
  await expect(hypervisor.copyData('site', 'nowhere', { ...order, signal })).rejects.toMatchObject({
    code: 'UD_UNKNOWN_VOLUME',
  });
});
