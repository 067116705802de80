import { bytes } from './formats.ts';

/** Incompatible feature bit 2 of a version 3 header. */
const EXTERNAL_DATA_FILE = 4n;

/**
 * The other file that a qcow2 image needs, if any. Read from the header itself: no tool, no lock, no guessing of formats.
 * Layout: QEMU's docs/interop/qcow2.txt.
 */
export async function outsideFile(path: string): Promise<'backing file' | 'data file' | null> {
  const header = await bytes(path, 0, 80);
  if (header.length < 80) return null;
  const version = header.readUInt32BE(4);
  if (header.readBigUInt64BE(8) !== 0n) return 'backing file';
  if (version >= 3 && (header.readBigUInt64BE(72) & EXTERNAL_DATA_FILE) !== 0n) return 'data file';
  return null;
}

/** A state of a disk that is kept within its image. */
interface KeptState {
  /** QEMU's number of it */
  id: string;
  name: string;
  /** when it was taken, epoch milliseconds */
  at: number;
}

export interface Qcow2Facts {
  /** bytes that a guest sees */
  size: number;
  /** in the order in which they were taken */
  snapshots: KeptState[];
}

/** More no image of ours has; one that a guest has made up is not believed. */
const MOST_SNAPSHOTS = 4096;
/** Bytes of an entry: fixed parts, QEMU's own additions, an id and a name. */
const LONGEST_ENTRY = 2048;

/**
 * What an image says of its size and of the states within it, also while a guest writes to it: QEMU writes the table of
 * states elsewhere and then names its place in the header, at once. Null: it is no qcow2 image, or says nonsense.
 */
export async function qcow2Facts(path: string): Promise<Qcow2Facts | null> {
  const header = await bytes(path, 0, 72);
  if (header.length < 72 || header.toString('latin1', 0, 4) !== 'QFI\xfb') return null;
  const size = Number(header.readBigUInt64BE(24));
  const count = header.readUInt32BE(60);
  const at = Number(header.readBigUInt64BE(64));
  if (count > MOST_SNAPSHOTS || !Number.isSafeInteger(size) || !Number.isSafeInteger(at)) return null;
  if (count === 0) return { size, snapshots: [] };
  const snapshots = readTable(await bytes(path, at, count * LONGEST_ENTRY), count);
  return snapshots && { size, snapshots };
}

function readTable(table: Buffer, count: number): KeptState[] | null {
  const found: KeptState[] = [];
  let from = 0;
  for (let n = 0; n < count; n++) {
    if (from + 40 > table.length) return null;
    const [idLength, nameLength] = [table.readUInt16BE(from + 12), table.readUInt16BE(from + 14)];
    const at = table.readUInt32BE(from + 16) * 1000 + Math.floor(table.readUInt32BE(from + 20) / 1_000_000);
    const text = from + 40 + table.readUInt32BE(from + 36);
    const end = text + idLength + nameLength;
    if (end > table.length) return null;
    found.push({
      id: table.toString('utf8', text, text + idLength),
      name: table.toString('utf8', text + idLength, end),
      at,
    });
    // Each entry begins at a multiple of eight.
    from = Math.ceil(end / 8) * 8;
  }
  return found;
}
