import { expect, test } from 'vitest';
import type { InstanceSpec } from '../../../src/hypervisor/port.ts';
import { commandLine } from '../../../src/hypervisor/qemu/command-line.ts';
import { runDirectory } from '../../../src/hypervisor/qemu/run-directory.ts';
import { revision } from '../../support/revisions.ts';

const SPEC: InstanceSpec = { ...revision(1), id: 'site-1-1', revision: 1, rollout: 1, launchedAt: 0 };
const VOLUME = { number: 258, name: 'code', digest: 'c'.repeat(64), format: 'squashfs' as const };

function words(rest: Partial<InstanceSpec> = {}): string[] {
  return commandLine(
    { ...SPEC, ...rest },
    {
      directory: runDirectory('/a,b', SPEC.id),
      accel: 'tcg',
      volumes: [VOLUME],
    },
  );
}

const after = (list: string[], option: string) => list.filter((_, index) => list[index - 1] === option);
const devices = (list: string[]) => after(list, '-device').map((json) => JSON.parse(json));
const nodes = (list: string[]) => after(list, '-blockdev').map((json) => JSON.parse(json));

test('a kernel is told which image it runs', () => {
  expect(after(words(), '-append')).toEqual(['unideploy.revision=image-aaaaaaaaaaaa-none']);
});

test('a volume from boot has the names a hot-added one would have', () => {
  expect(nodes(words())).toMatchObject([
    { driver: 'raw', 'node-name': 'dcccccccccccc.258', 'read-only': true },
  ]);
  expect(devices(words()).at(-1)).toMatchObject({ id: 'code.258', bus: 'volumes.0', 'scsi-id': 2, lun: 1 });
});

test('without SCSI each volume has a port of its own', () => {
  const list = devices(words({ machine: { ...SPEC.machine, volumes: 'virtio-blk' } }));
  expect(list.filter(({ driver }) => driver === 'pcie-root-port')).toHaveLength(8);
  expect(list.at(-1)).toMatchObject({ driver: 'virtio-blk-pci', bus: 'volume-port-0' });
});

test('a root disk boots first, through an overlay whose base and formats are named', () => {
  const list = words({ image: { kind: 'disk', disk: 'd'.repeat(64), format: 'qcow2' } });
  expect(nodes(list)[0]).toMatchObject({
    driver: 'qcow2',
    file: { filename: 'root.qcow2' },
    backing: { driver: 'qcow2', 'read-only': true, file: { filename: `artifacts/${'d'.repeat(64)}` } },
  });
  expect(devices(list)).toContainEqual({
    driver: 'virtio-blk-pci',
    id: 'root-disk',
    drive: 'root',
    bootindex: 0,
  });
  expect(list).not.toContain('-kernel');
});

test('the host port is left to the system, and a comma in a path stays a comma', () => {
  expect(after(words(), '-netdev')).toEqual(['user,id=net,hostfwd=tcp:127.0.0.1:0-:80']);
  expect(after(words(), '-name')).toEqual(['guest=/a,,b/run/site-1-1']);
});

test('guests that are known to tell of their memory have a balloon', () => {
  const has = (profile: 'linux' | 'nanos' | 'custom') =>
    devices(words({ machine: { ...SPEC.machine, profile } })).some(({ id }) => id === 'balloon');
  expect([has('linux'), has('nanos'), has('custom')]).toEqual([true, false, true]);
});

test('only the Linux profile has a panic device', () => {
  const has = (profile: 'linux' | 'nanos') =>
    devices(words({ machine: { ...SPEC.machine, profile } })).some(({ driver }) => driver === 'pvpanic-pci');
  expect([has('linux'), has('nanos')]).toEqual([true, false]);
});
