import { createHash } from 'node:crypto';
import { type DataVolume, dataOf, imageId, type Machine } from '../../domain/revision.ts';
import type { InstanceSpec } from '../port.ts';
import { type Attachment, deviceOf, nodeOf } from './attachments.ts';
import { attachedData } from './data-files.ts';
import type { Frame } from './qmp/wire.ts';
import { lent } from './reach.ts';
import { guestName, type RunDirectory } from './run-directory.ts';
import { WRITTEN } from './run-files.ts';

/** What the command line needs besides the spec. */
export interface LaunchFacts {
  directory: Pick<RunDirectory, 'path'>;
  /** what `auto` came to */
  accel: 'kvm' | 'tcg';
  /** the volumes present from boot, numbered like those that come later */
  volumes: Attachment[];
  /** a file for the guest's memory, seen from the run directory; left out: QEMU's own */
  ram?: RamFile;
  /** true: it waits for a saved state instead of booting */
  incoming?: boolean;
}

/** `share`: what the guest writes goes into the file; otherwise the file is only where its memory began. */
export interface RamFile {
  path: string;
  share: boolean;
}

/** QEMU's own process: no devices but ours, no new privileges, no programs started by it. */
export const CONFINED = [
  '-nodefaults',
  '-no-user-config',
  '-display',
  'none',
  '-sandbox',
  'on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny',
];

/** Free places for volumes on a q35 machine without SCSI; slot 0 of each port. */
export const ROOT_PORTS = Array.from({ length: 8 }, (_, index) => `volume-port-${index}`);

/**
 * The whole argument list of QEMU, which runs in the run directory and opens files by the names they have there. Pure: the
 * same input gives the same words.
 */
export function commandLine(spec: InstanceSpec, facts: LaunchFacts): string[] {
  const { machine } = spec;
  return [
    ...['-name', guestName(facts.directory.path)],
    ...CONFINED,
    ...machineShape(machine, facts),
    ...whenItFails(),
    ...(facts.incoming === true ? ['-incoming', 'defer'] : []),
    ...boot(spec),
    ...network(spec),
    ...console_(),
    ...monitors(),
    ...extras(machine),
    ...dataDisks(spec),
    ...places(machine),
    ...facts.volumes.flatMap((volume, index) => [
      ...blockdev(volumeNode(volume)),
      ...device(volumeDevice(volume, placeOf(machine, ROOT_PORTS[index] ?? ''))),
    ]),
  ];
}

/** An address of QEMU's own range, always the same for an instance. */
export function macOf(id: string): string {
  const [a, b, c] = createHash('sha256').update(id).digest();
  return [0x52, 0x54, 0x00, a, b, c].map((byte = 0) => byte.toString(16).padStart(2, '0')).join(':');
}

/** Where a volume goes: a SCSI address, or a bus of its own. */
export type Place = { kind: 'scsi' } | { kind: 'pci'; bus: string };

/** The place for the next volume; `freePort` matters only where volumes sit on root ports. */
export function placeOf(machine: Machine, freePort: string): Place {
  if (machine.volumes === 'virtio-scsi') return { kind: 'scsi' };
  return { kind: 'pci', bus: hasRootPorts(machine) ? freePort : 'pci.0' };
}

/** True where volumes need a root port each: PCI Express has no hotplug on its root bus. */
export function hasRootPorts(machine: Machine): boolean {
  return machine.volumes === 'virtio-blk' && machine.type === 'q35';
}

/** The disk node of a code volume: read-only, its format never guessed from its bytes. */
export function volumeNode(volume: Attachment): Frame {
  return {
    driver: 'raw',
    'node-name': nodeOf(volume),
    'read-only': true,
    file: { driver: 'file', filename: lent(volume.digest), locking: 'auto' },
  };
}

/** The device the guest sees. SCSI targets end at 255, LUNs come after them. */
export function volumeDevice(volume: Attachment, place: Place): Frame {
  const common = { id: deviceOf(volume), drive: nodeOf(volume), serial: nodeOf(volume) };
  return place.kind === 'scsi'
    ? {
        driver: 'scsi-hd',
        bus: 'volumes.0',
        'scsi-id': volume.number % 256,
        lun: Math.floor(volume.number / 256),
        ...common,
      }
    : // The serial of virtio-blk has 20 bytes.
      { driver: 'virtio-blk-pci', bus: place.bus, ...common, serial: nodeOf(volume).slice(0, 20) };
}

function machineShape(machine: Machine, { accel, ram }: LaunchFacts): string[] {
  const backend = ram === undefined ? '' : ',memory-backend=ram';
  return [
    ...(ram === undefined ? [] : ramFile(ram, machine.memory)),
    // Measured alone, TCG: the reference guest answers after 2.3 s instead of 2.6; hpet, sata and smbus change nothing.
    ...['-machine', `${machine.type},accel=${accel},usb=off,smm=off,vmport=off${backend}`],
    // Under TCG every feature of `max` is emulated and probed by the guest: `qemu64` boots faster.
    ...['-cpu', machine.cpu ?? (accel === 'kvm' ? 'max' : 'qemu64')],
    ...['-m', `${machine.memory}M`],
    ...['-smp', String(machine.cpus)],
  ];
}

function ramFile({ path, share }: RamFile, memory: number): string[] {
  const backend = { 'qom-type': 'memory-backend-file', id: 'ram', size: memory * 2 ** 20 };
  return ['-object', JSON.stringify({ ...backend, 'mem-path': path, share })];
}

/** A reboot would bring an unverified guest back; a panic is kept for its evidence and seen as `guest-panicked`. */
function whenItFails(): string[] {
  return ['-action', 'reboot=shutdown,shutdown=poweroff,panic=pause'];
}

/**
 * The disks that the guest writes to, apart from the code volumes, which come and go beside them. QEMU's lock on the file is
 * the last fence: it opens none that another one has.
 */
function dataDisks({ data, machine }: InstanceSpec): string[] {
  const disks = dataOf({ data });
  const scsi = machine.volumes === 'virtio-scsi';
  return [
    ...(scsi && disks.length > 0 ? device({ driver: 'virtio-scsi-pci', id: 'data' }) : []),
    ...disks.flatMap(({ name }, index) => [
      ...blockdev(dataNode(name)),
      ...device(
        scsi
          ? { driver: 'scsi-hd', bus: 'data.0', 'scsi-id': index, lun: 0, ...named(name) }
          : { driver: 'virtio-blk-pci', ...named(name) },
      ),
    ]),
  ];
}

function named(name: string): Frame {
  return { id: dataName(name), drive: dataName(name), serial: name };
}

/** Of a data volume, its disk node and its device. */
export function dataName(name: DataVolume['name']): string {
  return `data-${name}`;
}

function dataNode(name: string): Frame {
  const filename = attachedData(name);
  return {
    driver: 'qcow2',
    'node-name': dataName(name),
    discard: 'unmap',
    // Nothing that stands in the file makes QEMU open another one.
    backing: null,
    file: { driver: 'file', filename, locking: 'on', discard: 'unmap' },
  };
}

function boot({ image, machine, data }: InstanceSpec): string[] {
  if (image.kind === 'disk')
    return [
      ...blockdev({
        driver: 'qcow2',
        'node-name': 'root',
        discard: 'unmap',
        file: { driver: 'file', filename: WRITTEN.root },
        // The image of the store is named here once more, and read-only, so that nothing in the overlay can choose it.
        backing: {
          driver: image.format,
          'read-only': true,
          file: { driver: 'file', filename: lent(image.disk) },
        },
      }),
      // Without a boot index SeaBIOS tries the volumes first and stops silently.
      ...device({ driver: 'virtio-blk-pci', id: 'root-disk', drive: 'root', bootindex: 0 }),
    ];
  const disks = dataOf({ data }).map(({ name }) => name);
  const words = [
    machine.cmdline,
    `unideploy.revision=${imageId(image)}`,
    ...(disks.length > 0 ? [`unideploy.data=${disks.join()}`] : []),
  ];
  return [
    ...['-kernel', lent(image.kernel)],
    ...(image.initrd === null ? [] : ['-initrd', lent(image.initrd)]),
    ...['-append', words.join(' ').trim()],
  ];
}

/** Host port 0: the system chooses, so that no two instances can race for one. */
function network({ id, checks }: InstanceSpec): string[] {
  return [
    ...['-netdev', `user,id=net,hostfwd=tcp:127.0.0.1:0-:${checks.port}`],
    // No option ROM: nothing boots from the network.
    ...device({ driver: 'virtio-net-pci', id: 'nic', netdev: 'net', romfile: '', mac: macOf(id) }),
  ];
}

function console_(): string[] {
  return ['-chardev', `file,id=console,path=${WRITTEN.console},append=on`, '-serial', 'chardev:console'];
}

function monitors(): string[] {
  return (['monitor', 'spare', 'debug'] as const).flatMap((id) => [
    ...['-chardev', `socket,id=${id},path=${WRITTEN[id]},server=on,wait=off`],
    ...['-mon', `chardev=${id},mode=control`],
  ]);
}

function extras({ profile }: Machine): string[] {
  return [
    ...device({ driver: 'virtio-rng-pci', id: 'rng' }),
    // Re-seeds Linux when a machine was copied from another's memory.
    ...device({ driver: 'vmgenid', id: 'generation', guid: 'auto' }),
    ...(profile === 'linux' ? device({ driver: 'pvpanic-pci', id: 'panic' }) : []),
    // Never inflated: its statistics tell how much memory the guest has left.
    ...(profile === 'nanos' ? [] : device({ driver: 'virtio-balloon-pci', id: 'balloon' })),
  ];
}

/** Volumes sit apart from the root disk: a hotplugged neighbour's unit attention became I/O errors on it. */
function places(machine: Machine): string[] {
  if (machine.volumes === 'virtio-scsi') return device({ driver: 'virtio-scsi-pci', id: 'volumes' });
  if (!hasRootPorts(machine)) return [];
  return ROOT_PORTS.flatMap((id, index) =>
    device({ driver: 'pcie-root-port', id, chassis: index + 1, slot: index + 1 }),
  );
}

/** JSON needs no escaping. */
function blockdev(node: Frame): string[] {
  return ['-blockdev', JSON.stringify(node)];
}

function device(properties: Frame): string[] {
  return ['-device', JSON.stringify(properties)];
}
