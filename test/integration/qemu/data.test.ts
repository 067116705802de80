import { execFileSync } from 'node:child_process';
import { mkdir, readdir, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { qcow2Facts } from '../../../src/artifact/qcow2.ts';
import type { DataVolume } from '../../../src/domain/revision.ts';
import type { Endpoint, Hypervisor, InstanceSpec } from '../../../src/hypervisor/port.ts';
import { livingPid, runDirectory } from '../../../src/hypervisor/qemu/run-directory.ts';
import { answersWith, endpointOf, eventually } from '../../support/qemu/asking.ts';
import { type World, world } from '../../support/qemu/world.ts';

const VOLUME: DataVolume = {
  name: 'journal',
  size: 64 << 20,
  filesystem: 'ext4',
  snapshot: 'before-rollout',
  keep: 3,
  freeze: '/data/freeze',
  thaw: '/data/thaw',
};

let here: World;
let hypervisor: Hypervisor;
let disk: string;

beforeAll(async () => {
  here = await world();
  hypervisor = here.hypervisor();
  disk = join(here.state, 'data', 'site', 'journal', 'disk.qcow2');
});
afterAll(() => here.end());

function spec(id: string, volume: Partial<DataVolume> = {}): InstanceSpec {
  const machine = { cmdline: 'console=ttyS0 quiet panic=-1 ud.wait-volume=0' };
  return { ...here.spec(id, { machine }), data: [{ ...VOLUME, ...volume }] };
}

async function launched(id: string, volume: Partial<DataVolume> = {}): Promise<Endpoint> {
  await hypervisor.launch(spec(id, volume));
  const endpoint = await endpointOf(hypervisor, id);
  await answersWith(endpoint, '/health', 'ok');
  return endpoint;
}

async function post({ host, port }: Endpoint, path: string, body = ''): Promise<string> {
  const answer = await fetch(`http://${host}:${port}${path}`, {
    method: 'POST',
    body,
    signal: AbortSignal.timeout(20_000),
  });
  const text = (await answer.text()).trim();
  if (answer.status !== 200) throw new Error(`${path}: ${answer.status} ${text}`);
  return text;
}

async function lines({ host, port }: Endpoint): Promise<string[]> {
  const answer = await fetch(`http://${host}:${port}/data/log`, { signal: AbortSignal.timeout(20_000) });
  return (await answer.text()).split('\n').filter((line) => line !== '');
}

async function append(endpoint: Endpoint, count: number, word: string): Promise<void> {
  for (let n = 0; n < count; n++) await post(endpoint, '/data/append', `${word} ${n}`);
}

function check(): string {
  return execFileSync('qemu-img', ['check', '-f', 'qcow2', disk], { encoding: 'utf8' });
}

describe('one disk, from one instance to the next', () => {
  test('what was written is there in the next instance, and the file is nobody else’s while it is attached', async () => {
    const first = await launched('site-1-1');
    await append(first, 5, 'first');
    expect(await hypervisor.dataVolumes()).toMatchObject([
      { service: 'site', name: 'journal', size: VOLUME.size, attachedTo: 'site-1-1', snapshots: [] },
    ]);
    const owner = (await stat(disk)).uid;
    if (process.getuid?.() === 0) expect(owner).not.toBe(0);

    await expect(hypervisor.launch(spec('site-1-2'))).rejects.toMatchObject({ code: 'UD_DATA_IN_USE' });
    await hypervisor.remove('site-1-2');

    expect(await hypervisor.stop('site-1-1', 20_000)).toBe('by itself');
    expect(await stat(disk)).toMatchObject({ uid: process.getuid?.(), nlink: 1 });
    expect(check()).toContain('No errors');
    expect(await hypervisor.dataVolumes()).toMatchObject([{ attachedTo: null }]);

    const second = await launched('site-2-1');
    expect(await lines(second)).toEqual([0, 1, 2, 3, 4].map((n) => `${n + 1} first ${n}`));
    await append(second, 2, 'second');
  });

  test('another QEMU cannot open it, whatever a controller believes', async () => {
    const { path } = runDirectory(here.state, 'site-2-1');
    const file = join(path, 'data', 'journal.qcow2');
    expect(() =>
      execFileSync('qemu-img', ['snapshot', '-c', 'stolen', file], { encoding: 'utf8', stdio: 'pipe' }),
    ).toThrow(/lock/);
  });

  test('a QEMU that was killed has lost nothing that was acknowledged, and its successor gets the disk', async () => {
    const pid = livingPid(runDirectory(here.state, 'site-2-1'));
    const before = await endpointOf(hypervisor, 'site-2-1');
    let acknowledged = 7;
    const writing = (async () => {
      for (;;) acknowledged = Number(await post(before, '/data/append', 'until the end'));
    })().catch(() => {});
    await eventually('writes are under way', () => acknowledged > 20);
    process.kill(pid ?? 0, 'SIGKILL');
    await writing;
    const next = await launched('site-3-1');
    const kept = await lines(next);
    expect(kept.length).toBeGreaterThanOrEqual(acknowledged);
    expect(kept.every((line, n) => line.startsWith(`${n + 1} `))).toBe(true);
    expect(await readdir(join(runDirectory(here.state, 'site-2-1').path, 'data'))).toEqual([]);
    await hypervisor.stop('site-2-1', 0);
    await hypervisor.remove('site-2-1');
  });
});

describe('kept states', () => {
  test('live, with the guest holding still: what came before is in it, and nothing that came after', async () => {
    const endpoint = await endpointOf(hypervisor, 'site-3-1');
    const before = await lines(endpoint);
    await post(endpoint, '/data/freeze');
    await hypervisor.snapshotData('site', 'journal', 'by-hand', 3);
    await post(endpoint, '/data/thaw');
    await append(endpoint, 10, 'after');
    await expect(
      hypervisor.revertData('site', 'journal', 'by-hand', 'before-revert-1'),
    ).rejects.toMatchObject({
      code: 'UD_DATA_IN_USE',
    });
    await hypervisor.stop('site-3-1', 20_000);
    await expect(hypervisor.revertData('site', 'journal', 'no-such', 'x')).rejects.toMatchObject({
      code: 'UD_UNKNOWN_SNAPSHOT',
    });
    await hypervisor.revertData('site', 'journal', 'by-hand', 'before-revert-1');
    const again = await launched('site-4-1');
    expect(await lines(again)).toEqual(before);
    const [volume] = await hypervisor.dataVolumes();
    expect(volume?.snapshots.map(({ name }) => name)).toEqual(['by-hand', 'before-revert-1']);
    await hypervisor.stop('site-4-1', 20_000);

    await hypervisor.revertData('site', 'journal', 'before-revert-1', 'before-revert-2');
    const forth = await launched('site-5-1');
    expect(await lines(forth)).toHaveLength(before.length + 10);
  });

  test('one that is there stays, and of those kept by themselves the newest stay', async () => {
    const first = await hypervisor.snapshotData('site', 'journal', 'before-rollout-1', 3);
    expect(await hypervisor.snapshotData('site', 'journal', 'before-rollout-1', 3)).toEqual(first);
    for (const n of [2, 3, 4]) await hypervisor.snapshotData('site', 'journal', `before-rollout-${n}`, 3);
    const names = (await qcow2Facts(disk))?.snapshots.map(({ name }) => name);
    expect(names).toEqual(['by-hand', 'before-rollout-2', 'before-rollout-3', 'before-rollout-4']);
    await hypervisor.forgetData('site', 'journal', 'by-hand');
    expect((await qcow2Facts(disk))?.snapshots).toHaveLength(3);
  });
});

describe('growing', () => {
  test('while it is written to; the guest takes the room, and it does not shrink', async () => {
    const endpoint = await endpointOf(hypervisor, 'site-5-1');
    const before = await lines(endpoint);
    await hypervisor.growData('site', 'journal', 128 << 20);
    // the guest's kernel hears of it a moment later
    const grown = async () => Number(await post(endpoint, '/data/grow')) > 100 << 20;
    await eventually('the guest takes the room', grown);
    await hypervisor.growData('site', 'journal', 64 << 20);
    expect((await hypervisor.dataVolumes())[0]?.size).toBe(128 << 20);
    await append(endpoint, 3, 'grown');
    expect(await lines(endpoint)).toHaveLength(before.length + 3);
    await hypervisor.stop('site-5-1', 20_000);
  });

  test('at a launch that wants more', async () => {
    const endpoint = await launched('site-6-1', { size: 192 << 20 });
    expect((await hypervisor.dataVolumes())[0]?.size).toBe(192 << 20);
    expect(
      Number(
        (await fetch(`http://${endpoint.host}:${endpoint.port}/data/size`).then((a) => a.text())).trim(),
      ),
    ).toBeGreaterThan(160 << 20);
    await hypervisor.stop('site-6-1', 20_000);
    expect(check()).toContain('No errors');
  });
});

test('guests whose volumes are virtio-blk have it, too', async () => {
  const machine = {
    cmdline: 'console=ttyS0 quiet panic=-1 ud.wait-volume=0',
    volumes: 'virtio-blk',
  } as const;
  await hypervisor.launch({ ...here.spec('site-6-2', { machine }), data: [{ ...VOLUME, name: 'blk' }] });
  const endpoint = await endpointOf(hypervisor, 'site-6-2');
  await answersWith(endpoint, '/health', 'ok');
  expect(await post(endpoint, '/data/append', 'here')).toBe('1');
  await hypervisor.growData('site', 'blk', 96 << 20);
  expect(Number(await post(endpoint, '/data/grow'))).toBeGreaterThan(80 << 20);
  await hypervisor.stop('site-6-2', 20_000);
  await hypervisor.removeData('site', 'blk');
});

test('a disk that was made to name another file is not attached', async () => {
  const folder = join(here.state, 'data', 'site', 'evil');
  await mkdir(folder, { recursive: true });
  execFileSync('qemu-img', [
    ...['create', '-q', '-f', 'qcow2', '-b', '/etc/passwd', '-F', 'raw'],
    ...[join(folder, 'disk.qcow2'), '64M'],
  ]);
  await expect(hypervisor.launch(spec('site-7-1', { name: 'evil' }))).rejects.toMatchObject({
    code: 'UD_DATA_DAMAGED',
  });
  await writeFile(join(folder, 'disk.qcow2'), 'nonsense');
  await expect(hypervisor.launch(spec('site-7-2', { name: 'evil' }))).rejects.toMatchObject({
    code: 'UD_DATA_DAMAGED',
  });
});

test('removed, it is gone for good; one that an instance has is not', async () => {
  await launched('site-8-1');
  await expect(hypervisor.removeData('site', 'journal')).rejects.toMatchObject({ code: 'UD_DATA_IN_USE' });
  await hypervisor.stop('site-8-1', 20_000);
  await hypervisor.removeData('site', 'journal');
  expect((await hypervisor.dataVolumes()).map(({ name }) => name)).toEqual(['evil']);
});
