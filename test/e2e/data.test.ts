import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { end } from '../support/cli/processes.ts';
import { takeDown } from '../support/cli/take-down.ts';
import { openWorkplace, serving, type Workplace } from '../support/cli/workplace.ts';
import { logOf, lostFrom, startWriter } from '../support/cli/writer.ts';
import { eventually } from '../support/qemu/asking.ts';

const DATA = [
  {
    ...{ name: 'journal', size: '64M', snapshot: 'before-rollout', keep: 3 },
    ...{ freeze: '/data/freeze', thaw: '/data/thaw' },
  },
];

let place: Workplace;
let url: string;

beforeAll(async () => {
  place = await openWorkplace();
  await place.configure({ replicas: 1, data: DATA });
  expect(await place.cli(['up'])).toMatchObject({ exitCode: 0 });
  url = await address();
});

afterAll(() => takeDown(place));

async function address(): Promise<string> {
  const { listen } = await place.status();
  return `http://${listen?.host}:${listen?.port}`;
}

async function snapshots(): Promise<string[]> {
  const { data = [] } = await place.status();
  return data[0]?.snapshots.map(({ name }) => name) ?? [];
}

function check(): string {
  return execFileSync('qemu-img', ['check', '-U', join(place.state, 'data/site/journal/disk.qcow2')], {
    encoding: 'utf8',
  });
}

describe('a disk under constant acknowledged writes', () => {
  it('is handed over by an image rollout: nothing acknowledged is lost, no request fails', async () => {
    const writer = startWriter(url);
    await writer.more(20);
    await place.configure({ replicas: 1, data: DATA, guest: { memory: '100M' } });
    const outcome = await place.cli(['rollout']);
    await writer.more(20);
    await writer.stop();
    expect(outcome).toMatchObject({ exitCode: 0, stderr: '' });
    expect(outcome.stdout).toContain('kept the state of data volume journal as before-rollout-2');
    expect(outcome.stdout).not.toContain('did not hold still');
    expect(writer.failures).toEqual([]);
    expect(lostFrom(await logOf(url), writer)).toEqual([]);
    expect(serving(await place.status())).toEqual(['site-2-1 2 verified']);
    expect(await snapshots()).toEqual(['before-rollout-2']);
  });

  it('stays where it is when only the code is swapped', async () => {
    const writer = startWriter(url);
    await writer.more(20);
    await place.publish('<h1>two</h1>\n');
    expect(await place.cli(['rollout'])).toMatchObject({ exitCode: 0, stderr: '' });
    await writer.more(20);
    await writer.stop();
    expect(writer.failures).toEqual([]);
    expect(lostFrom(await logOf(url), writer)).toEqual([]);
    expect(serving(await place.status())).toEqual(['site-2-1 3 verified']);
  });

  it('is as it is now when a bad revision is rolled back', async () => {
    const bad = { memory: '104M', cmdline: 'ud.fault=never-healthy' };
    await place.configure({ replicas: 1, data: DATA, guest: bad, health: { deadline: '6s' } });
    const writer = startWriter(url);
    await writer.more(20);
    const outcome = await place.cli(['rollout']);
    await writer.more(20);
    await writer.stop();
    expect(outcome).toMatchObject({ exitCode: 3 });
    expect(writer.failures).toEqual([]);
    expect(lostFrom(await logOf(url), writer)).toEqual([]);
  });

  it('is exactly what it was after a revert, and the revert can be undone', async () => {
    expect(await place.cli(['volume', 'snapshot', 'journal', '--as', 'mine'])).toMatchObject({ exitCode: 0 });
    const before = await logOf(url);
    const writer = startWriter(url);
    await writer.more(1000);
    await writer.stop();
    const after = await logOf(url);
    expect(after.length).toBeGreaterThanOrEqual(before.length + 1000);

    expect(await place.cli(['volume', 'revert', 'journal', 'mine'])).toMatchObject({ exitCode: 2 });
    const outcome = await place.cli(['volume', 'revert', 'journal', 'mine', '--yes']);
    expect(outcome).toMatchObject({ exitCode: 0, stderr: '' });
    expect(await logOf(url)).toEqual(before);

    const aside = (await snapshots()).find((name) => name.startsWith('before-revert-')) ?? '';
    expect(await place.cli(['volume', 'revert', 'journal', aside, '--yes'])).toMatchObject({ exitCode: 0 });
    expect(await logOf(url)).toEqual(after);
  });

  it('grows while it is used', async () => {
    const writer = startWriter(url);
    await writer.more(10);
    expect(await place.cli(['volume', 'grow', 'journal', '96M'])).toMatchObject({ exitCode: 0 });
    // the guest's kernel hears of it a moment later
    await eventually('the guest takes the room', async () => {
      const grown = await fetch(`${url}/data/grow`, { method: 'POST' });
      return Number(await grown.text()) > 80 << 20;
    });
    await writer.more(10);
    await writer.stop();
    expect(writer.failures).toEqual([]);
    const outcome = await place.cli(['volume', 'grow', 'journal', '64M']);
    expect(outcome).toMatchObject({ exitCode: 2, stderr: expect.stringContaining('never shrinks') });
  });

  it('grows with the config, and does not shrink with it', async () => {
    const sized = (size: string) => ({
      replicas: 1,
      data: [{ ...DATA[0], size }],
      guest: { memory: '100M' },
    });
    await place.configure(sized('64M'));
    expect(await place.cli(['rollout'])).toMatchObject({
      exitCode: 2,
      stderr: expect.stringContaining('never shrinks'),
    });
    const before = serving(await place.status()).map((line) => line.split(' ')[0]);
    await place.configure(sized('112M'));
    const outcome = await place.cli(['rollout']);
    expect(outcome).toMatchObject({ exitCode: 0, stderr: '' });
    expect(outcome.stdout).toContain('data volume journal has grown');
    const { data = [], ...status } = await place.status();
    expect(data[0]?.size).toBe(112 << 20);
    expect(serving({ ...status, data }).map((line) => line.split(' ')[0])).toEqual(before);
  });
});

async function replaced(victim: string | undefined, within: number): Promise<void> {
  const serves = async () => {
    const { instances } = await place.status();
    return instances.some(({ id, weight, health }) => id !== victim && weight > 0 && health === 'healthy');
  };
  await eventually('another instance serves', serves, within);
}

describe('QEMU killed in the midst of writes', () => {
  it('is repaired: the next instance has the disk, with everything that was acknowledged', async () => {
    const writer = startWriter(url);
    await writer.more(50);
    const [[victim, pid] = []] = Object.entries(await place.guestPids());
    end(pid ?? 0, 'SIGKILL');
    await replaced(victim, 60_000);
    await writer.more(50);
    await writer.stop();
    expect(lostFrom(await logOf(url), writer)).toEqual([]);
    expect(check()).toContain('No errors');
  });
});

describe('QEMU that stands still', () => {
  it('is ended before its successor has the disk, and the journal says what that may have cost', async () => {
    const writer = startWriter(url);
    await writer.more(20);
    const [[victim, pid] = []] = Object.entries(await place.guestPids());
    end(pid ?? 0, 'SIGSTOP');
    await replaced(victim, 90_000);
    await writer.more(20);
    await writer.stop();
    expect(lostFrom(await logOf(url), writer)).toEqual([]);
    const { stdout } = await place.cli(['audit', '--json']);
    expect(stdout).toContain('"data-unwritten"');
    expect(stdout).not.toContain('UD_DATA_IN_USE');
  });
});

describe('a service that is taken down', () => {
  it('leaves its data, which only an explicit word removes', async () => {
    const log = await logOf(url);
    expect(await place.cli(['volume', 'rm', '--data', 'journal', '--yes'])).toMatchObject({
      exitCode: 4,
      stderr: expect.stringContaining('UD_DATA_IN_USE'),
    });
    expect(await place.cli(['down'])).toMatchObject({ exitCode: 0 });
    await place.serve();
    const told = await place.cli(['volume', 'ls']);
    expect(told.stdout).toMatch(/journal +\S+ MB +\S+ MB +nobody/);
    await place.configure({ replicas: 1, data: [{ ...DATA[0], size: '112M' }] });
    expect(await place.cli(['up'])).toMatchObject({ exitCode: 0 });
    expect(await logOf(await address())).toEqual(log);

    expect(await place.cli(['down'])).toMatchObject({ exitCode: 0 });
    await place.serve();
    expect(await place.cli(['volume', 'rm', '--data', 'journal'])).toMatchObject({ exitCode: 2 });
    expect(await place.cli(['volume', 'rm', '--data', 'journal', '--yes'])).toMatchObject({ exitCode: 0 });
    expect((await place.cli(['volume', 'ls'])).stdout).not.toContain('journal');
    expect(await place.cli(['up'])).toMatchObject({ exitCode: 0 });
    expect(await logOf(await address())).toEqual([]);
  });
});
