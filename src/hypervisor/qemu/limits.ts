import type { Limits } from '../../confinement.ts';
import type { DataVolume, Machine } from '../../domain/revision.ts';

const MiB = 1 << 20;
const GiB = 1 << 30;

/**
 * What QEMU may use for a machine. Measured with 7.2 under TCG: 1.5 GB of addresses for a guest of 128 MB, of which the
 * translated code reserves one.
 *
 * @param diskBytes what the guest sees of its root disk; null: it has none
 * @param data the disks that it writes to
 */
export function limitsOf(
  { memory, cpus }: Machine,
  diskBytes: number | null,
  data: DataVolume[] = [],
): Limits {
  const ram = memory * MiB;
  return {
    addressSpace: ram + 3 * GiB + cpus * 64 * MiB,
    // An overlay can become as long as its disk and its own tables; a dump as long as the memory.
    fileSize: Math.max(
      GiB,
      ram + 256 * MiB,
      Math.ceil((diskBytes ?? 0) * 1.01) + 256 * MiB,
      ...data.map(({ size }) => dataFileSize(size)),
    ),
    // One for each connection to the guest: user-mode networking opens a socket on this side.
    openFiles: 16_384,
  };
}

/** Kept states of a disk that one file may have at most, were each of them to differ from all others in every byte. */
const MOST_STATES = 32;

/** How long the file of a data volume may become, bytes: it holds the disk, and what differs from it in states of before. */
export function dataFileSize(size: number, states = MOST_STATES): number {
  return Math.ceil(size * 1.01) * (1 + states) + 256 * MiB;
}

/** Of qemu-img on a disk that a guest has written to. */
export function dataToolLimits(size: number): Limits {
  return { addressSpace: 4 * GiB, fileSize: dataFileSize(size), openFiles: 64, cpuSeconds: 300 };
}

/** Of qemu-img, which reads images that somebody else has made. */
export const IMAGE_TOOL_LIMITS: Limits = {
  addressSpace: 2 * GiB,
  fileSize: 64 * MiB,
  openFiles: 64,
  cpuSeconds: 20,
};
