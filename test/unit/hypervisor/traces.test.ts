import { spawn } from 'node:child_process';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, onTestFinished } from 'vitest';
import type { InstanceSpec } from '../../../src/hypervisor/port.ts';
import { readAttachments, reserve } from '../../../src/hypervisor/qemu/attachments.ts';
import {
  createRunDirectory,
  livingPid,
  type RunDirectory,
  readEndpoint,
  readSpec,
  runDirectory,
} from '../../../src/hypervisor/qemu/run-directory.ts';
import { everSeen, traces } from '../../../src/hypervisor/qemu/traces.ts';
import { revision } from '../../support/revisions.ts';

let state: string;
let directory: RunDirectory;
const { image, machine, volumes, checks } = revision(1);
const SPEC: InstanceSpec = {
  image,
  machine,
  volumes,
  checks,
  id: 'site-1-1',
  service: 'site',
  revision: 1,
  rollout: 1,
  launchedAt: 5,
};

beforeEach(async () => {
  state = await mkdtemp(join(tmpdir(), 'ud-run-'));
  directory = runDirectory(state, 'site-1-1');
  await createRunDirectory(directory, SPEC);
});

afterEach(() => rm(state, { recursive: true }));

/** A process with such words that works in such a folder, until the test is over. */
function process(cwd: string, ...words: string[]): number {
  const child = spawn('sh', ['-c', 'read x', ...words], { cwd, stdio: ['pipe', 'ignore', 'ignore'] });
  onTestFinished(() => void child.kill('SIGKILL'));
  return child.pid ?? 0;
}

/** What a loss of power leaves of a file. */
const TORN = ['', '{"id": "si', '\0\0\0\0', 'null', '[]'];

describe('a run directory whose files are torn', () => {
  it.each(TORN)('has its spec from the copy: %j', async (text) => {
    await writeFile(directory.spec, text);
    expect(await readSpec(directory)).toEqual(SPEC);
    await rm(directory.spec);
    expect(await readSpec(directory)).toEqual(SPEC);
    await writeFile(directory.specCopy, text);
    expect(await readSpec(directory)).toBeNull();
    expect(await traces(state)).toMatchObject([{ id: 'site-1-1', spec: null, directory: true }]);
  });

  it.each(TORN)('has no address until QEMU is asked: %j', async (text) => {
    await writeFile(directory.endpoint, text);
    expect(await readEndpoint(directory)).toBeNull();
  });

  it.each(TORN)('has the volumes of its spec, and gives no number again: %j', async (text) => {
    const [volume] = volumes;
    if (!volume) expect.fail();
    const first = await reserve(directory, volume, [], () => {});
    await writeFile(directory.attachments, text);
    expect(await readAttachments(directory)).toMatchObject([{ ...volume, number: first.number }]);
    const next = await reserve(directory, volume, [first], () => {});
    expect(next.number).toBeGreaterThan(1_000_000);
    expect((await readAttachments(directory)).map(({ number }) => number)).toEqual([1, next.number]);
  });
});

describe('what runs', () => {
  it('is a process that was started for the run directory and works in it, whoever remembers its number', async () => {
    const pid = process(directory.path, `guest=${directory.path}`);
    expect(livingPid(directory)).toBe(pid);
    await writeFile(directory.pid, `${pid}\n`);
    expect(livingPid(directory)).toBe(pid);
    expect(await traces(state)).toMatchObject([{ id: 'site-1-1', pids: [pid], spec: SPEC, volumes: [] }]);
  });

  it('is no process that has got the same number since, and none that only names it or only stands there', async () => {
    const another = runDirectory(state, 'site-1-2').path;
    const pids = [
      process(state, `guest=${directory.path}`),
      process(directory.path, 'tail', '-f', directory.log),
      process(directory.path, `guest=${another}`),
    ];
    for (const pid of pids) {
      await writeFile(directory.pid, `${pid}\n`);
      expect(livingPid(directory)).toBeNull();
    }
    expect(await traces(state)).toMatchObject([{ id: 'site-1-1', pids: [] }]);
  });

  it('is found when its run directory is gone, and not when it is of another state', async () => {
    const pid = process(directory.path, `guest=${directory.path}`);
    const other = join(state, 'other', 'run', 'site-9-9');
    await mkdir(other, { recursive: true });
    process(other, `guest=${other}`);
    await rm(directory.path, { recursive: true });
    expect(await traces(state)).toMatchObject([
      { id: 'site-1-1', pids: [pid], directory: false, spec: null },
    ]);
  });
});

it('a swapped guest is known by the volume that it was given last, whole', async () => {
  const [old] = volumes;
  const [fresh] = revision(2, { code: 'y' }).volumes;
  if (!old || !fresh) expect.fail();
  await reserve(directory, fresh, [await reserve(directory, old, [], () => {})], () => {});
  expect(await traces(state)).toMatchObject([{ volumes: [fresh] }]);
  expect(JSON.parse(await readFile(directory.attachments, 'utf8')).made).toHaveLength(2);
});

it('instances that were removed are remembered by their consoles', async () => {
  await mkdir(join(state, 'run', '.removed'));
  await writeFile(join(state, 'run', '.removed', 'site-7-3.log'), '');
  expect((await everSeen(state)).sort()).toEqual(['site-1-1', 'site-7-3']);
});
