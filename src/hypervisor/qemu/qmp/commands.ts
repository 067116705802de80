import { z } from 'zod';
import type { Sample } from '../../../domain/memory.ts';
import { broken } from './errors.ts';
import type { QmpSession } from './session.ts';
import type { Frame } from './wire.ts';

/** QEMU's run state: `running`, `paused`, `guest-panicked`, `internal-error`, … */
export async function queryStatus(session: QmpSession, deadlineMs?: number): Promise<string> {
  return (await asked(session, STATUS, 'query-status', {}, deadlineMs)).status;
}
const STATUS = z.object({ status: z.string() });

/** What the machine was called with -name. */
export async function queryName(session: QmpSession): Promise<string> {
  return NAME.parse(await session.execute('query-name')).name;
}
const NAME = z.object({ name: z.string().default('') });

export interface BlockDevice {
  /** id of the device in the guest's machine; empty when none */
  device: string;
  node: string;
}

/** Devices that have a disk node behind them now; one that is being unplugged is among them until it is gone. */
export async function queryBlock(session: QmpSession): Promise<BlockDevice[]> {
  const answer = await asked(session, BLOCK, 'query-block');
  return answer.map(({ qdev, inserted }) => ({
    device: deviceId(qdev ?? ''),
    node: inserted?.['node-name'] ?? '',
  }));
}
const BLOCK = z.array(
  z.object({
    qdev: z.string().optional(),
    inserted: z.object({ 'node-name': z.string().optional() }).optional(),
  }),
);

/** virtio-blk answers with the path of a part of the device: `/machine/peripheral/<id>/virtio-backend`. */
function deviceId(qdev: string): string {
  return /^\/machine\/peripheral\/([^/]+)/.exec(qdev)?.[1] ?? qdev;
}

/** Names of all disk nodes, QEMU's own (`#block…`) included. */
export async function queryNodes(session: QmpSession): Promise<string[]> {
  const answer = await asked(session, NODES, 'query-named-block-nodes', { flat: true });
  return answer.map((node) => node['node-name'] ?? '');
}
const NODES = z.array(z.object({ 'node-name': z.string().optional() }));

export async function blockdevAdd(session: QmpSession, node: Frame): Promise<void> {
  await session.execute('blockdev-add', node);
}

export async function blockdevDel(session: QmpSession, node: string): Promise<void> {
  await session.execute('blockdev-del', { 'node-name': node });
}

/** Keeps the state that a disk has at this moment within its image. */
export async function snapshotNode(session: QmpSession, node: string, name: string): Promise<void> {
  await session.execute('blockdev-snapshot-internal-sync', { device: node, name });
}

export async function forgetSnapshot(session: QmpSession, node: string, name: string): Promise<void> {
  await session.execute('blockdev-snapshot-delete-internal-sync', { device: node, name });
}

/** Gives a disk another size, bytes; the guest is told. */
export async function resizeNode(session: QmpSession, node: string, size: number): Promise<void> {
  await session.execute('block_resize', { 'node-name': node, size });
}

export async function deviceAdd(session: QmpSession, device: Frame): Promise<void> {
  await session.execute('device_add', device);
}

/** A request to the guest: DEVICE_DELETED tells that it was granted. */
export async function deviceDel(session: QmpSession, id: string): Promise<void> {
  await session.execute('device_del', { id });
}

/** How many devices sit on a PCI bus, whether the guest has numbered it or not (query-pci needs the guest for that). */
export async function devicesOnBus(session: QmpSession, port: string): Promise<number> {
  const path = `/machine/peripheral/${port}/${port}`;
  const answer = await asked(session, PROPERTIES, 'qom-list', { path });
  return answer.filter(({ name }) => /^child\[\d+\]$/.test(name)).length;
}
const PROPERTIES = z.array(z.object({ name: z.string() }));

/**
 * The host port that the system chose for `hostfwd=tcp:127.0.0.1:0-:<port>`; null when there is no such forward.
 * Only the human monitor knows it.
 */
export async function forwardedPort(session: QmpSession, guestPort: number): Promise<number | null> {
  const command = { 'command-line': 'info usernet' };
  const text = await asked(session, z.string(), 'human-monitor-command', command);
  for (const line of text.split('\n')) {
    const columns = line.trim().split(/\s+/);
    if (columns[0] !== 'TCP[HOST_FORWARD]' || columns[5] !== String(guestPort)) continue;
    const port = Number(columns[3]);
    if (Number.isInteger(port) && port > 0 && port < 65_536) return port;
  }
  return null;
}

/** Has the guest tell of its memory every so many seconds. Rejects where the machine has no balloon. */
export async function pollMemory(session: QmpSession, seconds: number): Promise<void> {
  const property = 'guest-stats-polling-interval';
  await session.execute('qom-set', { path: BALLOON, property, value: seconds });
}

/** What the guest last said of its memory, bytes; null: nothing yet, or nothing of use. */
export async function guestMemory(session: QmpSession): Promise<Sample | null> {
  const property = 'guest-stats';
  const answer = GUEST_STATS.parse(await session.execute('qom-get', { path: BALLOON, property }));
  const {
    'stat-available-memory': available,
    'stat-free-memory': free,
    'stat-total-memory': total,
  } = answer.stats;
  const left = isSaid(available) ? available : free;
  return answer['last-update'] === 0 || !isSaid(left) || !isSaid(total)
    ? null
    : { available: left, total, at: answer['last-update'] * 1000 };
}
const BALLOON = '/machine/peripheral/balloon';
const GUEST_STATS = z.object({
  'last-update': z.number(),
  stats: z.record(z.string(), z.number()),
});

/** What a guest does not tell is -1, as an unsigned number of 64 bits. */
function isSaid(value: number | undefined): value is number {
  return value !== undefined && value >= 0 && value < 2 ** 62;
}

/** Stops the guest's processors where they are. */
export async function stopGuest(session: QmpSession, deadlineMs?: number): Promise<void> {
  await session.execute('stop', {}, deadlineMs);
}

/** Lets the guest's processors go on. */
export async function resumeGuest(session: QmpSession, deadlineMs?: number): Promise<void> {
  await session.execute('cont', {}, deadlineMs);
}

/**
 * What saving and loading are to be like: both sides have to say the same. Memory that lies in a shared file stays out of
 * the state where `ramInFile` is true. QEMU tells of each step by itself from then on, and is in a hurry.
 */
export async function prepareMigration(session: QmpSession, ramInFile: boolean): Promise<void> {
  const capabilities = [
    { capability: 'events', state: true },
    { capability: 'x-ignore-shared', state: ramInFile },
  ];
  await session.execute('migrate-set-capabilities', { capabilities });
  // QEMU and the guest would tell the network of an address that a copy shares with its parent until it is woken.
  await session.execute('migrate-set-parameters', { 'max-bandwidth': FASTEST, 'announce-rounds': 0 });
}
/** Bytes a second, more than any host does. */
const FASTEST = 2 ** 40;

/** Begins to send the machine's state; resolves at once. */
export async function migrate(session: QmpSession, uri: string): Promise<void> {
  await session.execute('migrate', { uri });
}

/** Has a QEMU that was started with `-incoming defer` take a state there. */
export async function migrateIncoming(session: QmpSession, uri: string): Promise<void> {
  await session.execute('migrate-incoming', { uri });
}

export async function cancelMigration(session: QmpSession): Promise<void> {
  await session.execute('migrate_cancel');
}

/** How the last migration stands, and QEMU's word for why it failed. */
export async function queryMigration(session: QmpSession): Promise<{ status: string; reason: string }> {
  const answer = await asked(session, MIGRATION, 'query-migrate');
  return { status: answer.status ?? 'none', reason: answer['error-desc'] ?? 'QEMU gives no reason' };
}
const MIGRATION = z.object({ status: z.string().optional(), 'error-desc': z.string().optional() });

/** Whether the guest's memory is an object of that id. */
export async function hasMemoryObject(session: QmpSession, id: string): Promise<boolean> {
  return (await asked(session, MEMORY_OBJECTS, 'query-memdev')).some((object) => object.id === id);
}
const MEMORY_OBJECTS = z.array(z.object({ id: z.string().optional() }));

/** QEMU's version: `7.2.22` */
export async function queryVersion(session: QmpSession): Promise<string> {
  const { major, minor, micro } = (await asked(session, VERSION, 'query-version')).qemu;
  return `${major}.${minor}.${micro}`;
}
const VERSION = z.object({ qemu: z.object({ major: z.number(), minor: z.number(), micro: z.number() }) });

export async function isOnKvm(session: QmpSession): Promise<boolean> {
  return (await asked(session, KVM, 'query-kvm')).enabled;
}
const KVM = z.object({ enabled: z.boolean() });

/** Writes the guest's memory to a file, as an ELF core. The guest stands still meanwhile. */
export async function dumpMemory(session: QmpSession, file: string, deadlineMs: number): Promise<void> {
  await session.execute('dump-guest-memory', { paging: false, protocol: `file:${file}` }, deadlineMs);
}

/** Presses the guest's ACPI power button. */
export async function systemPowerdown(session: QmpSession, deadlineMs?: number): Promise<void> {
  await session.execute('system_powerdown', {}, deadlineMs);
}

/** Ends QEMU at once, the guest's unsynced writes with it. */
export async function quit(session: QmpSession, deadlineMs?: number): Promise<void> {
  await session.execute('quit', {}, deadlineMs);
}

/** An answer of another shape than it should have is a fault of the monitor's (UD_QMP). */
export async function asked<T>(
  session: QmpSession,
  shape: z.ZodType<T>,
  command: string,
  args?: Frame,
  deadlineMs?: number,
): Promise<T> {
  const answer = shape.safeParse(await session.execute(command, args, deadlineMs));
  if (answer.success) return answer.data;
  throw broken(`${command} was answered with what is no answer to it`, answer.error);
}
