import type { Limits } from '../../confinement.ts';
import type { Machine } from '../../domain/revision.ts';

const MiB = 1 << 20;
const GiB = 1 << 30;

/**
 * What QEMU may use for a machine. Measured with 7.2 under TCG: 1.5 GB of addresses for a guest of 128 MB, of which the
 * translated code reserves one.
 *
 * @param diskBytes what the guest sees of its root disk; null: it has none
 */
export function limitsOf({ memory, cpus }: Machine, diskBytes: number | null): Limits {
  const ram = memory * MiB;
  return {
    addressSpace: ram + 3 * GiB + cpus * 64 * MiB,
    // An overlay can become as long as its disk and its own tables; a dump as long as the memory.
    fileSize: Math.max(GiB, ram + 256 * MiB, Math.ceil((diskBytes ?? 0) * 1.01) + 256 * MiB),
    // One for each connection to the guest: user-mode networking opens a socket on this side.
    openFiles: 16_384,
  };
}

/** Of qemu-img, which reads images that somebody else has made. */
export const IMAGE_TOOL_LIMITS: Limits = {
  addressSpace: 2 * GiB,
  fileSize: 64 * MiB,
  openFiles: 64,
  cpuSeconds: 20,
};
