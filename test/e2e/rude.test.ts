import { createHash } from 'node:crypto';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { InstanceStatus } from '../../src/daemon/messages.ts';
import type { ErrorCode } from '../../src/errors.ts';
import { end, isAlive } from '../support/cli/processes.ts';
import { prepare, type Wanted } from '../support/cli/revisions.ts';
import { entry, type Story, serves, story } from '../support/cli/story.ts';
import { takeDown } from '../support/cli/take-down.ts';
import { counted, underLoad } from '../support/cli/under-load.ts';
import { openWorkplace, type Workplace } from '../support/cli/workplace.ts';
import { eventually } from '../support/qemu/asking.ts';
import { type Between, between, type Meddling } from '../support/qemu/between.ts';
import { tell } from '../support/qemu/scripted-peer.ts';

/** How each of these ends is what docs/operations.md says. */

let place: Workplace;
let rounds = 0;

/** On virtio-blk, where a guest has to let go of a volume itself. */
const code = (name: string, wanted: Wanted = {}) =>
  prepare(place, name, {
    ...wanted,
    volumes: 'virtio-blk',
    rollout: { parallel: 1, ...wanted.rollout },
    // what was sent to a guest that is stopped is not waited for long
    proxy: { timeouts: { connect: '2s', response: '4s' } },
  });

beforeAll(async () => {
  place = await openWorkplace();
  await code('v1');
  expect(await place.cli(['up'])).toMatchObject({ exitCode: 0, stderr: '' });
});

afterAll(() => takeDown(place));

/** Rolls out under load and expects that it goes back for this reason, and that nothing but the first revision is left. */
async function goesBack(because: ErrorCode): Promise<Story> {
  const ending = { result: 'rolled-back', exitCode: 3, revision: 1, code: because } as const;
  const [told] = await underLoad(place, async () =>
    story(place, await place.cli(['rollout', '--json']), ending),
  );
  await serves(place, 1);
  return told;
}

describe('a guest that never acknowledges an unplug', () => {
  it('is replaced by one with the old code, and the rollout goes back', async () => {
    const before = Object.keys(await place.guestPids());
    await code('stuck', { fault: 'keep-slot' });
    const told = await goesBack('UD_VOLUME_UNPLUG');
    expect(entry(told, 'rollback-started').reason.message).toMatch(/did not within 10000 ms let go of/);
    const after = Object.keys(await place.guestPids());
    expect(after.filter((id) => !before.includes(id))).toHaveLength(1);
  });
});

describe('a volume that is no good', () => {
  it.each<[string, string, Wanted]>([
    ['garbage behind the first bytes of a squashfs', 'squash', { spoilt: spoilt('squashfs') }],
    ['garbage around the magic of an ext4', 'ext4', { spoilt: spoilt('ext4') }],
    ['a squashfs that ends in the middle', 'cut', { spoilt: cut() }],
    ['the revision of another volume', 'other', { says: 'v9' }],
    ['no revision', 'nameless', { says: null }],
  ])('leaves the old code serving: %s', async (_what, name, wanted) => {
    const guests = await place.guestPids();
    await code(name, wanted);
    const told = await goesBack('UD_VOLUME_UNVERIFIED');
    expect(entry(told, 'rollback-started').reason.message).toContain('did not prove revision');
    expect(await place.guestPids()).toEqual(guests);
  });
});

describe('a monitor', () => {
  let monitors: Map<string, Between>;

  /** Each test finds all guests' monitors behind somebody who may meddle, and a controller that knows nothing of it. */
  async function meddled(how: Meddling): Promise<string> {
    const controller = await place.controllerPid();
    end(controller, 'SIGTERM');
    await eventually('the controller has ended', () => !isAlive(controller), 30_000);
    const ids = Object.keys(await place.guestPids());
    monitors = new Map();
    for (const id of ids) {
      const own = join(place.state, 'run', id, 'own');
      // There is no other way in.
      await Promise.all(['spare', 'debug'].map((name) => rm(join(own, name), { force: true })));
      monitors.set(id, await between(join(own, 'qmp')));
    }
    await place.serve();
    const [first = ''] = ids;
    await eventually('the guest is seen', async () => (await place.status()).instances.every(isSeen), 20_000);
    monitors.get(first)?.meddle(how);
    await code(`v${++rounds}-${first}`);
    return first;
  }

  async function released(): Promise<void> {
    for (const monitor of monitors.values()) await monitor.end();
  }

  it.each<[string, Meddling]>([
    ['hangs up before a command has reached QEMU', on('blockdev-add', (_pass, client) => client.destroy())],
    [
      'hangs up when QEMU has done it',
      on('device_add', (pass, client) => {
        pass();
        client.destroy();
      }),
    ],
    [
      'hangs up in the midst of an answer to an unplug',
      on('device_del', (pass, client) => {
        pass();
        client.end('{"return": {');
      }),
    ],
    ['answers garbage', on('device_add', (_pass, client) => void client.write('\0\xff{]\r\n'))],
    ['answers with a line that does not end', on('device_add', (_pass, client) => endless(client))],
    ['does not answer a command', on('device_add', () => {})],
  ])('that %s has the rollout go back', async (_what, how) => {
    await meddled(how);
    try {
      await goesBack('UD_QMP');
    } finally {
      await released();
    }
  });

  it('that floods its client with events, small and large, is heard out, and the rollout succeeds', async () => {
    let flood: NodeJS.Timeout | undefined;
    const first = await meddled((_command, pass, client) => {
      flood ??= setInterval(() => {
        if (client.destroyed || client.writableLength > 8 << 20) return;
        tell(client, ...Array.from({ length: 20 }, () => ({ event: 'RTC_CHANGE', data: { offset: 1 } })));
        if (Math.random() < 0.02) tell(client, { event: 'NOISE', data: { much: 'x'.repeat(1 << 20) } });
      }, 2);
      pass();
    });
    try {
      const [outcome] = await underLoad(place, () => place.cli(['rollout', '--json']));
      expect(outcome).toMatchObject({ exitCode: 0, last: { result: 'succeeded' } });
      const { instances } = await place.status();
      expect(instances.find(({ id }) => id === first)).toMatchObject({ verified: true, runState: 'running' });
    } finally {
      clearInterval(flood);
      await released();
    }
    // the tests of this file begin at the first revision
    expect(await place.cli(['rollback', '--to', '1'])).toMatchObject({ exitCode: 0 });
    await serves(place, 1);
  });

  it('whose QEMU is stopped in the midst of a swap has its guest replaced, and the rollout go back', async () => {
    const pids = await place.guestPids();
    const first = await meddled((command, pass) => {
      if (command.execute === 'device_add') end(pids[first] ?? 0, 'SIGSTOP');
      pass();
    });
    try {
      const ending = { result: 'rolled-back', exitCode: 3, revision: 1, code: 'UD_QMP' } as const;
      const [, { failures }] = await counted(place, async () =>
        story(place, await place.cli(['rollout', '--json']), ending),
      );
      expect(isAlive(pids[first] ?? 0)).toBe(false);
      // the data plane takes one back that it had put out for a moment
      await eventually('all serve', async () => (await place.status()).instances.every(isUsed), 30_000);
      await serves(place, 1);
      // those in flight on the very process that was stopped, one a connection at most
      expect(failures.length).toBeLessThanOrEqual(8);
      for (const { cause } of failures)
        expect(cause).toMatch(/^504 the instance (took no connection|did not answer)/);
    } finally {
      await released();
    }
  });
});

function isUsed({ usable, health, verified }: InstanceStatus): boolean {
  return usable === true && health === 'healthy' && verified;
}

function isSeen({ runState, health }: { runState: string | null; health: string }): boolean {
  return runState === 'running' && health === 'healthy';
}

/** Once: what comes afterwards passes. */
function on(wanted: string, act: (pass: () => void, client: Parameters<Meddling>[2]) => void): Meddling {
  let done = false;
  return ({ execute }, pass, client) => {
    if (done || execute !== wanted) return pass();
    done = true;
    act(pass, client);
  };
}

/** As fast as it is read, until the other side has enough. */
function endless(client: Parameters<Meddling>[2]): void {
  const piece = Buffer.alloc(1 << 20, 'x');
  const more = () => {
    if (!client.destroyed) client.write(piece, more);
  };
  more();
}

/** The size and the first bytes of a good one, and then noise: the same in every run. */
function spoilt(format: 'squashfs' | 'ext4'): NonNullable<Wanted['spoilt']> {
  return {
    format,
    bytes: (good) => {
      const bytes = noise(Math.max(good.length, 64 * 1024));
      if (format === 'squashfs') good.copy(bytes, 0, 0, 4);
      else bytes.writeUInt16LE(0xef53, 1080);
      return bytes;
    },
  };
}

function cut(): NonNullable<Wanted['spoilt']> {
  return { format: 'squashfs', bytes: (good) => good.subarray(0, 200) };
}

function noise(length: number): Buffer {
  const blocks = Array.from({ length: Math.ceil(length / 32) }, (_, n) =>
    createHash('sha256').update(`${n}`).digest(),
  );
  return Buffer.concat(blocks).subarray(0, length);
}
