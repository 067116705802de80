import { z } from 'zod';
import { UnideployError } from '../../errors.ts';
import { type ImageTool, runImageTool } from './image-tool.ts';
import { dataToolLimits } from './limits.ts';
import { until } from './wait.ts';

/** A disk as qemu-img is to open it: no other file is within its reach. */
export interface OpenableDisk extends ImageTool {
  /** seen from its folder */
  file: string;
  /** bytes that the guest may see */
  size: number;
}

/** Milliseconds for a change of a disk that nothing else uses. */
const DEADLINE = 120_000;
/** Milliseconds that a QEMU which was killed may take until it lets go of its files. */
const RELEASE = 15_000;

const CHECKED = z.object({
  'check-errors': z.number().default(0),
  corruptions: z.number().default(0),
  leaks: z.number().default(0),
  'leaks-fixed': z.number().default(0),
});

/** What a check has found: leaked clusters, which are given back, or damage. */
export interface Checked {
  leaksFixed: number;
  /** null: it is whole */
  damage: string | null;
}

/** Looks through a disk, and gives back what a killed QEMU has leaked. @throws UD_DATA_IN_USE */
export async function checkDisk(disk: OpenableDisk): Promise<Checked> {
  const said = await qemuImg(disk, ['check', '-f', 'qcow2', '-r', 'leaks', '--output=json', disk.file]);
  const told = CHECKED.safeParse(parsed(said.stdout));
  if (!told.success) return { leaksFixed: 0, damage: `cannot be checked: ${said.complaint}` };
  const { corruptions, leaks, 'leaks-fixed': leaksFixed, 'check-errors': errors } = told.data;
  const damage = corruptions + errors > 0 ? `has ${corruptions + errors} errors` : null;
  return {
    leaksFixed,
    damage: damage ?? (leaks > leaksFixed && said.failed ? 'keeps leaked clusters' : null),
  };
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

/** Makes an empty disk where a file of no bytes is. */
export async function createDisk(disk: OpenableDisk): Promise<void> {
  await done(disk, ['create', '-q', '-f', 'qcow2', '-o', 'compat=1.1', disk.file, String(disk.size)]);
}

/** Makes a disk of a raw file beside it. */
export async function convertDisk(disk: OpenableDisk, raw: string): Promise<void> {
  const words = ['convert', '-q', '-f', 'raw', '-O', 'qcow2', '-o', 'compat=1.1', raw, disk.file];
  await done(disk, words);
}

export async function keepState(disk: OpenableDisk, name: string): Promise<void> {
  await done(disk, ['snapshot', '-q', '-c', name, disk.file]);
}

export async function forgetState(disk: OpenableDisk, name: string): Promise<void> {
  await done(disk, ['snapshot', '-q', '-d', name, disk.file]);
}

/** Makes the disk what it was; its size too. */
export async function goBackTo(disk: OpenableDisk, name: string): Promise<void> {
  await done(disk, ['snapshot', '-q', '-a', name, disk.file]);
}

export async function growDisk(disk: OpenableDisk): Promise<void> {
  await done(disk, ['resize', '-q', '-f', 'qcow2', disk.file, String(disk.size)]);
}

async function done(disk: OpenableDisk, words: string[]): Promise<void> {
  const { failed, complaint } = await qemuImg(disk, words);
  if (failed)
    throw new UnideployError(
      'UD_DATA_DAMAGED',
      `qemu-img ${words[0]} of a data volume failed: ${complaint}`,
      `nothing was put in the place of ${disk.folder}; look at it with: qemu-img check`,
    );
}

/** One whose QEMU has just gone may be locked for a moment: that is waited for. */
async function qemuImg(disk: OpenableDisk, words: string[]) {
  const once = () => runImageTool(disk, words, { limits: dataToolLimits(disk.size), deadline: DEADLINE });
  let said = await once();
  const isFree = async () => {
    if (!isLocked(said)) return true;
    said = await once();
    return !isLocked(said);
  };
  if (await until(isFree, RELEASE, 100)) return said;
  throw new UnideployError(
    'UD_DATA_IN_USE',
    'another process has the data volume open',
    'stop it: unideploy status tells the instances; fuser tells processes',
  );
}

function isLocked({ failed, complaint }: { failed: boolean; complaint: string }): boolean {
  return failed && /Failed to get .* lock|Is another process using the image/.test(complaint);
}
