import { chmod, copyFile, mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { execa } from 'execa';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { digestText } from '../../../src/artifact/digest.ts';
import type { Progress } from '../../../src/domain/progress.ts';
import { type CodeVolume, canonical, type DataVolume, type Image } from '../../../src/domain/revision.ts';
import type { Snapshot } from '../../../src/domain/snapshot.ts';
import type { Hypervisor, InstanceSpec } from '../../../src/hypervisor/port.ts';
import { connectQmp } from '../../../src/hypervisor/qemu/qmp/session.ts';
import { httpProber } from '../../../src/probe/http.ts';
import { SnapshotCatalogue } from '../../../src/snapshots/catalogue.ts';
import { answersWith, ask, endpointOf, eventually, see } from '../../support/qemu/asking.ts';
import { type World, world } from '../../support/qemu/world.ts';

const NEVER = new AbortController().signal;
const BUILD = fileURLToPath(new URL('../../../examples/linux-unikernel/build', import.meta.url));

let here: World;
let hypervisor: Hypervisor;
let catalogue: SnapshotCatalogue;
let [one, two] = [] as unknown as [CodeVolume, CodeVolume];

beforeAll(async () => {
  here = await world();
  hypervisor = here.hypervisor();
  catalogue = new SnapshotCatalogue(join(here.state, 'snapshots'));
  [one, two] = [await here.volume('one'), await here.volume('two')];
});
afterAll(() => here.end());

/** Saves an instance as a controller does. */
async function take(
  id: string,
  {
    memory = true,
    signal = NEVER,
    report = () => {},
  }: { memory?: boolean; signal?: AbortSignal; report?: (progress: Progress) => void } = {},
): Promise<Snapshot> {
  const name = `${id}-saved`;
  const draft = await catalogue.begin('site', name);
  try {
    const machine = await hypervisor.save(id, { folder: draft.folder, memory, report, signal });
    const of = { service: 'site', instance: id, revision: 1, createdAt: 0, createdBy: 'a test' };
    return await draft.finish({ ...machine, ...of, id: name });
  } finally {
    await draft.discard();
  }
}

interface Status {
  boot_id: string;
  id: string;
  random: string;
  time_ms: number;
  uptime_ms: number;
  served: number;
}

async function statusOf(id: string): Promise<Status> {
  const endpoint = await endpointOf(hypervisor, id);
  const { status, body } = await ask(endpoint, '/.unideploy/status', 5_000);
  if (status !== 200) throw new Error(`${id} answers ${status} ${body}`);
  return JSON.parse(body) as Status;
}

async function launch(spec: InstanceSpec): Promise<void> {
  await hypervisor.launch(spec);
  await answersWith(await endpointOf(hypervisor, spec.id), '/health', 'ok');
}

async function end(id: string): Promise<void> {
  await hypervisor.stop(id, 0);
  await hypervisor.remove(id);
}

describe('a snapshot with memory', () => {
  let snapshot: Snapshot;
  let before: Status;

  it('is taken of a guest whose volume was exchanged, and the guest goes on', async () => {
    await launch(here.spec('site-1-1', { volumes: [one] }));
    await hypervisor.attachVolume('site-1-1', two);
    const endpoint = await endpointOf(hypervisor, 'site-1-1');
    await answersWith(endpoint, '/.unideploy/revision', 'two');
    await hypervisor.detachVolume('site-1-1', one);

    // Asked before: the kernel draws its boot id at the first question.
    before = await statusOf('site-1-1');
    const told: number[] = [];
    const report = ({ done, total }: Progress) => void told.push(done / total);
    snapshot = await take('site-1-1', { report });
    expect(told[0]).toBe(0);
    expect(told.at(-1)).toBe(1);
    expect(snapshot).toMatchObject({ disk: null, attachments: [{ number: 2, name: 'code' }], accel: 'tcg' });
    expect(snapshot.spec.volumes).toEqual([two]);
    expect(snapshot.pausedMs).toBeLessThan(5_000);
    await answersWith(endpoint, '/.unideploy/revision', 'two', 2_000);
    expect(await see(hypervisor, 'site-1-1')).toMatchObject({ runState: 'running' });
  });

  it('is gone on from by another instance, whose guest has not booted', async () => {
    await hypervisor.stop('site-1-1', 0);
    const spec = here.spec('site-2-1', { volumes: [two] });
    await hypervisor.launch({ ...spec, snapshot: snapshot.id });
    await answersWith(await endpointOf(hypervisor, 'site-2-1'), '/.unideploy/revision', 'two', 5_000);
    const after = await statusOf('site-2-1');
    expect(after.boot_id).toBe(before.boot_id);
    expect(after.served).toBeGreaterThan(before.served);
    expect(after.uptime_ms).toBeGreaterThan(before.uptime_ms);
    expect(await see(hypervisor, 'site-2-1')).toMatchObject({
      runState: 'running',
      volumes: [{ name: 'code', digest: two.digest }],
    });
  });

  it('can have its volumes exchanged then, by numbers that were never used', async () => {
    await hypervisor.attachVolume('site-2-1', one);
    await answersWith(await endpointOf(hypervisor, 'site-2-1'), '/.unideploy/revision', 'one');
    await hypervisor.detachVolume('site-2-1', two);
    const ledger = await readFile(join(here.state, 'run/site-2-1/attachments.json'), 'utf8');
    expect((JSON.parse(ledger) as { next: number }).next).toBe(4);
    await end('site-2-1');
  });

  it('is never given another code disk', async () => {
    const spec = here.spec('site-3-1', { volumes: [one] });
    await expect(hypervisor.launch({ ...spec, snapshot: snapshot.id })).rejects.toMatchObject({
      code: 'UD_SNAPSHOT_REFUSED',
      message: expect.stringContaining('other code volumes'),
    });
    expect(await see(hypervisor, 'site-3-1')).toMatchObject({ state: 'stopped' });
    await end('site-3-1');
  });

  it('is refused when somebody has changed it', async () => {
    const spec = { ...here.spec('site-3-2', { volumes: [one] }), snapshot: snapshot.id };
    const record = catalogue.path('site', snapshot.id, 'record');
    const memory = catalogue.path('site', snapshot.id, 'memory');
    const good = await readFile(record, 'utf8');
    const restored = async (text: string) => {
      await chmod(record, 0o600);
      await writeFile(record, text);
    };
    // It says that it was taken with the volume that the instance is to have.
    const lie = { ...(JSON.parse(good) as Snapshot), spec: { ...snapshot.spec, volumes: [one] } };
    await restored(JSON.stringify(lie));
    await expect(hypervisor.launch(spec)).rejects.toMatchObject({ code: 'UD_ARTIFACT_CORRUPT' });

    // The same with a seal of its own: the bytes of another volume are not under that digest.
    const { seal: _, ...unsealed } = lie as Snapshot & { seal: string };
    await restored(JSON.stringify({ ...unsealed, seal: digestText(canonical(unsealed)) }));
    await expect(hypervisor.launch(spec)).rejects.toMatchObject({ code: 'UD_SNAPSHOT_REFUSED' });

    await restored(good);
    const right = { ...spec, volumes: [two] };
    await chmod(memory, 0o600);
    const bytes = await readFile(memory);
    bytes[bytes.length - 1] = (bytes.at(-1) ?? 0) ^ 1;
    await writeFile(memory, bytes);
    await expect(hypervisor.launch(right)).rejects.toMatchObject({ code: 'UD_ARTIFACT_CORRUPT' });
    await rm(memory);
    await expect(hypervisor.launch(right)).rejects.toMatchObject({ code: 'UD_ARTIFACT_MISSING' });
    expect(await see(hypervisor, 'site-3-2')).toMatchObject({ state: 'stopped' });
    await end('site-3-2');
  });
});

describe('two that go on from one snapshot', () => {
  const machine = { wake: '/.unideploy/wake' };
  const { wake } = httpProber();

  /** Launches it as the engine does, which tells it who it is. */
  async function bringBack(id: string, snapshot: string): Promise<Status> {
    const spec = { ...here.spec(id, { machine, volumes: [one] }), snapshot };
    await hypervisor.launch(spec, {
      wake: async ({ endpoint, mac }) => {
        expect(await see(hypervisor, id)).toMatchObject({ state: 'starting' });
        const identity = { id, mac, time: Date.now() };
        expect(await wake(endpoint, { path: machine.wake, identity, timeout: 5_000 })).toMatchObject({
          heard: true,
        });
      },
    });
    await answersWith(await endpointOf(hypervisor, id), '/health', 'ok');
    return await statusOf(id);
  }

  it.each(['a guest that has booted', 'a copy of a template'])(
    'of %s know who they are, draw other numbers, and have the time of now',
    async (of) => {
      const spec = here.spec('site-0-1', { machine, volumes: [one] });
      if (of.startsWith('a copy')) {
        const { key } = await hypervisor.templateFor(spec);
        await hypervisor.makeTemplate(spec, async ({ endpoint }) => {
          if (endpoint) await answersWith(endpoint, '/.unideploy/revision', 'one');
        });
        await hypervisor.launch(spec, { key, wake: async () => {} });
      } else await launch(spec);
      const { boot_id } = await statusOf('site-0-1');
      const { id, ram } = await take('site-0-1');
      expect(ram).toBe(of.startsWith('a copy') ? 'file' : 'own');
      await end('site-0-1');
      const [a, b] = [await bringBack('site-0-2', id), await bringBack('site-0-3', id)];
      expect([a.boot_id, b.boot_id]).toEqual([boot_id, boot_id]);
      expect([a.id, b.id]).toEqual(['site-0-2', 'site-0-3']);
      expect(a.random).not.toBe(b.random);
      for (const { time_ms } of [a, b]) expect(Math.abs(Date.now() - time_ms)).toBeLessThan(10_000);
      for (const each of ['site-0-2', 'site-0-3']) await end(each);
      await catalogue.remove('site', id);
    },
  );

  it('are no more than one where one is not told who it is', async () => {
    await launch(here.spec('site-0-1', { machine, volumes: [one] }));
    const { id } = await take('site-0-1');
    const spec = { ...here.spec('site-0-4', { machine, volumes: [one] }), snapshot: id };
    const deaf = async () => {
      throw new Error('it does not hear');
    };
    await expect(hypervisor.launch(spec, { wake: deaf })).rejects.toThrow('it does not hear');
    expect((await hypervisor.list()).map((each) => each.spec.id)).not.toContain('site-0-4');
    await end('site-0-1');
  });
});

describe('an instance with a data volume', () => {
  it('is not saved with its memory, for the volume goes on without it', async () => {
    const data: DataVolume[] = [
      {
        name: 'db',
        size: 32 << 20,
        filesystem: 'ext4',
        snapshot: 'never',
        keep: 1,
        freeze: null,
        thaw: null,
      },
    ];
    await launch({ ...here.spec('site-0-5', { volumes: [one] }), data });
    await expect(take('site-0-5')).rejects.toMatchObject({
      code: 'UD_SNAPSHOT_REFUSED',
      message: expect.stringContaining('data volume db'),
    });
    await end('site-0-5');
  });
});

describe('a snapshot that is not finished', () => {
  it('leaves nothing when it is cancelled, and a guest that serves', async () => {
    await launch(here.spec('site-4-1', { volumes: [one] }));
    const cancelled = new AbortController();
    const report = ({ done }: Progress) => void (done > 0 && cancelled.abort());
    const taking = take('site-4-1', { signal: cancelled.signal, report });
    await expect(taking).rejects.toMatchObject({ code: 'UD_SAVED_STATE' });
    expect(await readdir(join(here.state, 'snapshots/site'))).not.toContain('site-4-1-saved');
    await answersWith(await endpointOf(hypervisor, 'site-4-1'), '/health', 'ok', 2_000);
  });

  it('leaves nothing when QEMU is killed in its midst', async () => {
    const pid = Number(await readFile(join(here.state, 'run/site-4-1/qemu.pid'), 'utf8'));
    let killed = false;
    const report = ({ done }: Progress) => {
      if (done > 0 && !killed) process.kill(pid, 'SIGKILL');
      killed ||= done > 0;
    };
    await expect(take('site-4-1', { report })).rejects.toThrow();
    const left = await readdir(join(here.state, 'snapshots/site'));
    expect(left.filter((name) => name.includes('site-4-1'))).toEqual([]);
    await eventually('it is seen', async () => (await see(hypervisor, 'site-4-1')).state === 'stopped');
    await end('site-4-1');
  });

  it('has its guest go on when the next controller comes, whoever has died', async () => {
    await launch(here.spec('site-5-1', { volumes: [one] }));
    await hypervisor.close();
    // As it is when a controller dies between the two: the mark is there, the guest stands still.
    await writeFile(join(here.state, 'run/site-5-1/saving'), '');
    await monitorSays(join(here.state, 'run/site-5-1/own/debug'), 'stop');
    hypervisor = here.hypervisor();
    await eventually('it runs', async () => (await see(hypervisor, 'site-5-1')).runState === 'running');
    await answersWith(await endpointOf(hypervisor, 'site-5-1'), '/health', 'ok', 5_000);
    expect(await readdir(join(here.state, 'run/site-5-1'))).not.toContain('saving');
    await end('site-5-1');
  });

  it('leaves no guest that waits for its memory for ever', async () => {
    await launch(here.spec('site-6-1', { volumes: [one] }));
    const snapshot = await take('site-6-1');
    await end('site-6-1');
    await hypervisor.launch({ ...here.spec('site-6-2', { volumes: [one] }), snapshot: snapshot.id });
    await hypervisor.close();
    await writeFile(join(here.state, 'run/site-6-2/unwoken'), '');
    hypervisor = here.hypervisor();
    expect((await hypervisor.list()).map(({ spec }) => spec.id)).not.toContain('site-6-2');
  });
});

describe('a root disk', () => {
  let disk: Image;
  const machine = { profile: 'nanos', memory: 128 } as const;

  beforeAll(async () => {
    const file = join(here.state, 'root.img');
    await execa(BUILD, ['disk', file]);
    disk = { kind: 'disk', disk: await here.keep(file), format: 'raw' };
  });

  it.each([
    ['is saved with the memory', true],
    ['is saved alone', false],
  ])('%s, and is what the restored guest has', async (_, memory) => {
    const id = memory ? 'site-7-1' : 'site-8-1';
    await launch(here.spec(id, { image: disk, machine, volumes: [one] }));
    const { boot_id } = await statusOf(id);
    const debug = join(here.state, 'run', id, 'own/debug');
    await writes(debug, '0x55');
    const snapshot = await take(id, { memory });
    await writes(debug, '0xaa');
    expect(snapshot).toMatchObject({
      disk: { bytes: expect.any(Number) as number },
      memory: memory ? { bytes: expect.any(Number) as number } : null,
    });
    await answersWith(await endpointOf(hypervisor, id), '/health', 'ok', 2_000);
    await end(id);
    const next = { ...here.spec(`${id}b`, { image: disk, machine, volumes: [one] }), snapshot: snapshot.id };
    await launch(next);
    expect((await statusOf(next.id)).boot_id === boot_id).toBe(memory);
    await hypervisor.stop(next.id, 0);
    await expectWritten(join(here.state, 'run', next.id, 'root.qcow2'), disk);
    await expectWritten(catalogue.path('site', snapshot.id, 'disk'), disk);
    await hypervisor.remove(next.id);
  });

  it('of a kernel is none to be saved alone', async () => {
    await launch(here.spec('site-9-1', { volumes: [one] }));
    await expect(take('site-9-1', { memory: false })).rejects.toMatchObject({ code: 'UD_SNAPSHOT_REFUSED' });
    await end('site-9-1');
  });
});

/** Writes to the root disk of a guest that runs, past its file systems. */
async function writes(monitor: string, pattern: string): Promise<void> {
  const device = '/machine/peripheral/root-disk/virtio-backend';
  const command = `qemu-io -d ${device} "write -P ${pattern} 20M 64k"`;
  await monitorSays(monitor, 'human-monitor-command', { 'command-line': command });
}

/** That an overlay is sound, and has what was written to it first. It names its image as seen from the folder that it is in. */
async function expectWritten(overlay: string, image: Image): Promise<void> {
  if (image.kind !== 'disk') throw new Error('a kernel is no disk');
  const folder = await mkdtemp(join(here.state, 'check-'));
  await mkdir(join(folder, 'artifacts'));
  await symlink(here.artifactPath(image.disk), join(folder, 'artifacts', image.disk));
  await copyFile(overlay, join(folder, 'root.qcow2'));
  await execa('qemu-img', ['check', '-q', 'root.qcow2'], { cwd: folder });
  const read = ['-r', '-f', 'qcow2', '-c', 'read -P 0x55 20M 64k', 'root.qcow2'];
  const { stdout } = await execa('qemu-io', read, { cwd: folder });
  expect(stdout).not.toContain('verification failed');
  expect(stdout).toContain('read 65536/65536');
}

async function monitorSays(path: string, command: string, args = {}): Promise<void> {
  const session = await connectQmp(path, { deadlineMs: 5_000 });
  await session.execute(command, args);
  session.close();
}
