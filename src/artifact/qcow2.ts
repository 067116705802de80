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
