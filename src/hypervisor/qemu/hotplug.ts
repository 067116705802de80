import { setTimeout as pause } from 'node:timers/promises';
import type { CodeVolume, Digest, Machine } from '../../domain/revision.ts';
import { UnideployError } from '../../errors.ts';
import type { AttachedVolume } from '../port.ts';
import { type Attachment, deviceOf, isVolumeNode, nodeOf, readAttachments, reserve } from './attachments.ts';
import type { ExpectCommand } from './command.ts';
import { hasRootPorts, type Place, placeOf, ROOT_PORTS, volumeDevice, volumeNode } from './command-line.ts';
import {
  blockdevAdd,
  blockdevDel,
  deviceAdd,
  deviceDel,
  devicesOnBus,
  queryBlock,
  queryNodes,
} from './qmp/commands.ts';
import { attachError, monitorError, refused } from './qmp/errors.ts';
import type { AwaitedEvent, QmpSession } from './qmp/session.ts';
import type { RunDirectory } from './run-directory.ts';

/** The machine whose volumes are changed. */
export interface Plugboard {
  id: string;
  machine: Machine;
  directory: RunDirectory;
  session: QmpSession;
  /** what is attached, where that is known for certain; null: QEMU is asked, and may have files open that no device shows */
  known: Attachment[] | null;
  expectCommand: ExpectCommand;
  /** lets QEMU read an artifact of the store */
  lend: (digest: Digest) => Promise<void>;
  /** takes back the artifacts of code volumes, but for these */
  takeBack: (but: Digest[]) => Promise<void>;
  /** milliseconds a guest has to let go of a volume */
  unplugMs: number;
}

/**
 * Puts a volume beside those that are there; a volume that is there already is left alone. Returns what is attached then.
 * Throws UD_VOLUME_ATTACH.
 */
export async function attach(board: Plugboard, volume: CodeVolume): Promise<Attachment[]> {
  const present = board.known ?? (await tidied(board));
  if (present.some((attached) => isSame(attached, volume))) return present;
  const place = await freePlace(board, volume);
  const attachment = await open(board, volume, present);
  await plug(board, attachment, place);
  return [...present, attachment];
}

/**
 * Asks the guest to let go of a volume and takes it away once it has. Throws UD_VOLUME_UNPLUG when the guest refuses
 * or stays silent; it keeps the volume then, and asking again is fine. Returns what is attached then.
 */
export async function detach(board: Plugboard, volume: AttachedVolume): Promise<Attachment[]> {
  const present = board.known ?? (await attachedVolumes(board));
  const leaving = present.filter((attached) => isSame(attached, volume));
  for (const attachment of leaving) await (await requestUnplug(board, attachment)).done();
  const left = present.filter((attached) => !leaving.includes(attached));
  await board.takeBack(left.map(({ digest }) => digest));
  return left;
}

/**
 * Takes one volume out and puts the other in, back to back: the file is opened first, and the guest's answer is
 * awaited last. Throws UD_VOLUME_ATTACH or UD_VOLUME_UNPLUG; after the latter the new volume stays, since the request
 * to remove the old one cannot be taken back: a guest that wakes up later must not be left with none. Returns what is
 * attached then.
 */
export async function replace(board: Plugboard, from: AttachedVolume, to: CodeVolume): Promise<Attachment[]> {
  const present = board.known ?? (await tidied(board));
  const old = present.filter((attached) => isSame(attached, from) && !isSame(attached, to));
  const isThere = present.some((attached) => isSame(attached, to));
  const place = isThere ? null : await freePlace(board, to);
  const opened = place === null ? null : { place, attachment: await open(board, to, present) };
  const leaving: Unplug[] = [];
  for (const each of old) leaving.push(await requestUnplug(board, each));
  if (opened !== null) await plug(board, opened.attachment, opened.place);
  for (const each of leaving) await each.done();
  const left = present.filter((attached) => !old.includes(attached));
  const now = opened === null ? left : [...left, opened.attachment];
  await board.takeBack(now.map(({ digest }) => digest));
  return now;
}

/** What QEMU itself says is attached, oldest first. The run directory only adds the whole digests. */
export async function attachedVolumes(
  board: Pick<Plugboard, 'session' | 'directory'>,
): Promise<Attachment[]> {
  const [known, devices] = await Promise.all([readAttachments(board.directory), queryBlock(board.session)]);
  return known
    .filter((each) => devices.some(({ device, node }) => device === deviceOf(each) && node === nodeOf(each)))
    .sort((a, b) => a.number - b.number);
}

function isSame(attached: AttachedVolume, volume: AttachedVolume): boolean {
  return attached.name === volume.name && attached.digest === volume.digest;
}

/** Opens the file in QEMU, under a name that was never used. */
async function open(board: Plugboard, volume: CodeVolume, present: Attachment[]): Promise<Attachment> {
  const attachment = await reserve(board.directory, volume, present, board.expectCommand);
  try {
    await board.lend(volume.digest);
    await blockdevAdd(board.session, volumeNode(attachment));
    return attachment;
  } catch (error) {
    throw attachError(board.id, volume.name, error);
  }
}

/** Shows the opened file to the guest; closes it again when QEMU refuses. */
async function plug(board: Plugboard, attachment: Attachment, place: Place): Promise<void> {
  try {
    await deviceAdd(board.session, volumeDevice(attachment, place));
  } catch (error) {
    await blockdevDel(board.session, nodeOf(attachment)).catch(() => {});
    throw attachError(board.id, attachment.name, error);
  }
}

async function freePlace(board: Plugboard, volume: CodeVolume): Promise<Place> {
  if (!hasRootPorts(board.machine)) return placeOf(board.machine, '');
  for (const port of ROOT_PORTS)
    if ((await devicesOnBus(board.session, port)) === 0) return placeOf(board.machine, port);
  throw new UnideployError(
    'UD_VOLUME_ATTACH',
    `instance ${board.id} has no free port for volume ${volume.name}: all ${ROOT_PORTS.length} are taken`,
    'wait until the guest has let go of old volumes, or use machine.volumes: virtio-scsi',
  );
}

interface Unplug {
  /** Resolves when the guest has let go and the file is closed. */
  done(): Promise<void>;
}

async function requestUnplug(board: Plugboard, attachment: Attachment): Promise<Unplug> {
  const device = deviceOf(attachment);
  const end = performance.now() + board.unplugMs;
  const answer = board.session.waitFor(
    ({ name, data }) =>
      (name === 'DEVICE_DELETED' || name === 'DEVICE_UNPLUG_GUEST_ERROR') && data.device === device,
    board.unplugMs,
  );
  try {
    await deviceDel(board.session, device);
  } catch (error) {
    // The guest was asked earlier and has not answered yet: its answer is awaited all the same.
    if (refused(error, 'not-found')) answer.cancel();
    else if (!refused(error, 'unplug-pending')) {
      answer.cancel();
      throw monitorError(board.id, error);
    }
  }
  return { done: () => unplugged(board, attachment, answer, end) };
}

async function unplugged(
  board: Plugboard,
  attachment: Attachment,
  answer: AwaitedEvent,
  end: number,
): Promise<void> {
  const name = await answer.event.then(
    (event) => event.name,
    () => 'silence',
  );
  if (!board.session.open) throw monitorError(board.id, new Error('the session ended during an unplug'));
  if (name === 'DEVICE_UNPLUG_GUEST_ERROR') throw unplugError(board, attachment, 'refuses to let go of');
  // QEMU decides, not the event: the wait was cancelled where the device was gone before.
  if (name === 'silence' && (await attachedVolumes(board)).some(({ number }) => number === attachment.number))
    throw unplugError(board, attachment, `did not within ${board.unplugMs} ms let go of`);
  await closeNode(board, nodeOf(attachment), end);
}

/** A device that is deleted lets go of its file a moment later. */
async function closeNode(board: Plugboard, node: string, end: number): Promise<void> {
  for (;;) {
    try {
      return await blockdevDel(board.session, node);
    } catch (error) {
      if (refused(error, 'not-found')) return;
      if (!refused(error, 'node-in-use') || performance.now() > end) throw monitorError(board.id, error);
    }
    await pause(5);
  }
}

/** What is attached, once files are closed that no device shows: what is left when a controller died between two steps. */
async function tidied(board: Plugboard): Promise<Attachment[]> {
  const [present, nodes] = await Promise.all([attachedVolumes(board), queryNodes(board.session)]);
  const used = new Set(present.map(nodeOf));
  for (const node of nodes) {
    // One still in use belongs to a device on its way out: whoever looks next finds it again.
    if (isVolumeNode(node) && !used.has(node)) await blockdevDel(board.session, node).catch(() => {});
  }
  return present;
}

function unplugError(board: Plugboard, { name, digest }: Attachment, what: string): UnideployError {
  return new UnideployError(
    'UD_VOLUME_UNPLUG',
    `instance ${board.id} ${what} volume ${name} (${digest.slice(0, 12)}); it keeps it`,
    'read its console; a guest that never lets go of volumes needs machine.volumes: virtio-scsi, or swap by new instances',
  );
}
