import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { DataCopy } from '../../src/domain/data-copy.ts';
import type { Endpoint } from '../../src/hypervisor/port.ts';
import { takeDown } from '../support/cli/take-down.ts';
import { openWorkplace, type Running, serving, type Workplace } from '../support/cli/workplace.ts';
import { eventually } from '../support/qemu/asking.ts';
import { append, heldBy, journal, type Writers, writers } from '../support/qemu/journal.ts';

/** Slow enough that there is a moment in the middle of it. */
const SLOWLY = ['--full', '--rate', '4M'];
const VOLUME = { name: 'journal', size: '128M', freeze: '/data/freeze', thaw: '/data/thaw' };

let place: Workplace;
/** of the load balancer */
let door: Endpoint;
let disk: string;
let writing: Writers;

beforeAll(async () => {
  place = await openWorkplace();
  await place.configure({ replicas: 1, data: [VOLUME] });
  expect(await place.cli(['up'])).toMatchObject({ exitCode: 0, stderr: '' });
  const { listen } = await place.status();
  if (!listen) throw new Error('the service has no listener');
  door = { host: listen.host, port: listen.port };
  disk = join(place.state, 'data', 'site', 'journal', 'disk.qcow2');
  writing = writers(() => door);
  await eventually('writes', () => writing.acknowledged.length > 30);
});

afterAll(async () => {
  await writing.stop();
  await takeDown(place);
});

async function copy(...args: string[]): Promise<DataCopy> {
  const { exitCode, last, stderr } = await place.cli(['volume', 'copy', 'journal', '--json', ...args]);
  expect({ exitCode, stderr, error: last.error }).toEqual({ exitCode: 0, stderr: '', error: undefined });
  return (last as unknown as { copy: DataCopy }).copy;
}

async function copies(): Promise<DataCopy[]> {
  const { last } = await place.cli(['volume', 'copies', '--json']);
  return last as unknown as DataCopy[];
}

const imageOf = ({ id }: DataCopy) => join(place.state, 'copies', 'site', 'journal', `${id}.qcow2`);

/** Everything that there is of copies, in the store and in the run directories. */
async function files(): Promise<string[]> {
  const folders = [join(place.state, 'copies', 'site', 'journal')];
  for (const id of Object.keys(await place.guestPids())) folders.push(join(place.state, 'run', id, 'copies'));
  return (await Promise.all(folders.map((folder) => readdir(folder).catch(() => [])))).flat().sort();
}

function missing(from: string[], all: string[]): string[] {
  const there = new Set(from);
  return all.filter((text) => !there.has(text));
}

/** The bytes that it has told to be done so far. */
function done(running: Running): number {
  const steps = running.said().split('\n').filter(Boolean);
  const told = steps.map((line) => JSON.parse(line) as { event?: string; done?: number });
  return Math.max(-1, ...told.filter(({ event }) => event === 'progress').map((each) => each.done ?? -1));
}

describe('while clients write all the time', () => {
  let first: DataCopy;

  it('a copy has every write that was acknowledged before it began, on a file system in order', async () => {
    const before = [...writing.acknowledged];
    first = await copy();
    expect(first).toMatchObject({
      service: 'site',
      volume: 'journal',
      still: true,
      on: null,
      size: 128 << 20,
    });
    const { lines, isClean } = await heldBy(imageOf(first));
    expect(missing(lines, before)).toEqual([]);
    expect(isClean).toBe(true);
    expect(await copies()).toEqual([first]);
  });

  it('the next reads only what has changed, stands alone, and has what the disk had', async () => {
    const before = [...writing.acknowledged];
    const second = await copy();
    expect(second).toMatchObject({ on: first.id, why: null });
    expect(second.copied).toBeLessThan(first.copied / 4);
    execFileSync('qemu-img', ['check', imageOf(second)]);
    const { lines } = await heldBy(imageOf(second));
    expect(missing(lines, before)).toEqual([]);
    const { stdout } = await place.cli(['volume', 'rm-copy', 'journal', first.id]);
    expect(stdout).toContain(first.id);
    expect((await heldBy(imageOf(second))).lines).toEqual(lines);
    first = second;
  });

  it('without a hook the file system replays its journal, and nothing more', async () => {
    await place.configure({ replicas: 1, data: [{ ...VOLUME, freeze: undefined, thaw: undefined }] });
    expect(await place.cli(['rollout'])).toMatchObject({ exitCode: 0 });
    const before = [...writing.acknowledged];
    const third = await copy('--full');
    expect(third).toMatchObject({ still: null, on: null });
    expect(missing((await heldBy(imageOf(third))).lines, before)).toEqual([]);
    await place.configure({ replicas: 1, data: [VOLUME] });
    expect(await place.cli(['rollout'])).toMatchObject({ exitCode: 0 });
  });

  it('Ctrl-C cancels it, and leaves nothing', async () => {
    const before = await files();
    const running = place.start(['volume', 'copy', 'journal', '--json', ...SLOWLY]);
    await eventually('some of it is copied', () => done(running) > 0, 30_000);
    process.kill(running.pid, 'SIGINT');
    expect(await running.outcome).toMatchObject({
      exitCode: 130,
      last: { error: { code: 'UD_INTERRUPTED' } },
    });
    await eventually('it has left nothing', async () => (await files()).join() === before.join());
    const acknowledged = writing.acknowledged.length;
    await eventually('the guest goes on', () => writing.acknowledged.length > acknowledged);
  });

  it('a rollout waits for no copy', async () => {
    await place.configure({ replicas: 1, data: [{ ...VOLUME, snapshot: 'before-rollout' }] });
    const running = place.start(['volume', 'copy', 'journal', '--json', ...SLOWLY]);
    await eventually('some of it is copied', () => done(running) > 0, 30_000);
    expect(await place.cli(['restart'])).toMatchObject({ exitCode: 0 });
    expect(await running.outcome).toMatchObject({ exitCode: 4, last: { error: { code: 'UD_COPY_FAILED' } } });
  });

  it('a controller that is killed leaves nothing that the next one does not take away', async () => {
    const before = await files();
    const running = place.start(['volume', 'copy', 'journal', '--json', ...SLOWLY]);
    await eventually('some of it is copied', () => done(running) > 0, 30_000);
    process.kill(await place.controllerPid(), 'SIGKILL');
    expect(await running.outcome).toMatchObject({ last: { error: { code: 'UD_CONTROLLER_LOST' } } });
    expect((await files()).length).toBeGreaterThan(before.length);
    await place.serve();
    await eventually('nothing is left', async () => (await files()).join() === before.join());
    const next = await copy();
    expect(next.on).toBe((await copies()).at(-2)?.id);
  });

  it.each([
    ['before it has begun', (running: Running) => done(running) >= 0],
    ['in the midst of it', (running: Running) => done(running) > 0],
    ['near its end', (running: Running) => done(running) > (128 << 20) * 0.8],
    ['when it is done', (running: Running) => running.said().includes('"copy":')],
  ])('QEMU is killed %s: nothing acknowledged is lost, and no half copy is one', async (_when, moment) => {
    const [before] = [await copies()];
    const [[id = '', pid = 0] = []] = Object.entries(await place.guestPids());
    const running = place.start(['volume', 'copy', 'journal', '--json', '--full', '--rate', '16M']);
    await eventually('the moment has come', () => moment(running), 60_000, 1);
    process.kill(pid, 'SIGKILL');
    const { last } = await running.outcome;
    const made = (last as { copy?: DataCopy }).copy;
    expect(await copies()).toEqual(made ? [...before, made] : before);
    if (made) await heldBy(imageOf(made));
    else expect(last.error?.code).toMatch(/^UD_(COPY_FAILED|QMP)$/);
    await eventually(
      'another instance serves',
      async () => {
        const status = await place.status();
        return (
          status.open === null &&
          serving(status).every((each) => !each.startsWith(id) && /verified/.test(each))
        );
      },
      120_000,
      100,
    );
    const acknowledged = [...writing.acknowledged];
    expect(missing(await journal(door), acknowledged)).toEqual([]);
    // Read while the next one has it open: what leaked was given back before.
    execFileSync('qemu-img', ['check', '-U', disk]);
    expect((await copy()).on).toBeNull();
  });

  it('goes into a file, too, and back in the place of the disk, when no instance has that', async () => {
    await writing.stop();
    const file = join(place.project, 'journal.qcow2');
    await append(door, 'the last before the copy');
    const kept = await copy('--output', file);
    const lines = await journal(door);
    expect((await heldBy(file)).lines).toEqual(lines);
    expect(await place.cli(['volume', 'copy', 'journal', '--output', file])).toMatchObject({ exitCode: 2 });
    await append(door, 'after it');
    const restore = ['volume', 'restore', 'journal', kept.id];
    expect((await place.cli(restore)).stderr).toContain('--yes');
    expect((await place.cli([...restore, '--yes'])).stderr).toContain('UD_DATA_IN_USE');
    expect(await place.cli(['down'])).toMatchObject({ exitCode: 0 });
    await place.serve().catch(() => {});
    expect(await place.cli([...restore, '--yes', '--service', 'site'])).toMatchObject({
      exitCode: 0,
      stderr: '',
    });
    expect(await stat(disk)).toMatchObject({ nlink: 1 });
    expect(existsSync(join(place.state, 'data', 'site', 'journal', 'replaced.qcow2'))).toBe(true);
    expect(await place.cli(['up'])).toMatchObject({ exitCode: 0 });
    const { listen } = await place.status();
    door = { host: listen?.host ?? '', port: listen?.port ?? 0 };
    expect(await journal(door)).toEqual(lines);
    // Nothing is recorded on a disk that came from elsewhere.
    expect((await copy()).on).toBeNull();
  });
});
