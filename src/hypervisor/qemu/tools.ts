import { execa } from 'execa';
import { UnideployError } from '../../errors.ts';

/** The error for a program that is not installed. */
export function toolMissing(program: string, cause?: unknown): UnideployError {
  const debianPackage = program.includes('qemu-img') ? 'qemu-utils' : 'qemu-system-x86';
  return new UnideployError(
    'UD_TOOL_MISSING',
    `${program} is not installed`,
    `install it, on Debian with: apt-get install ${debianPackage}`,
    { cause },
  );
}

/** What QEMU says it is, e.g. `QEMU emulator version 7.2.22 (…)`. Throws UD_TOOL_MISSING. */
export async function qemuVersion(qemu: string): Promise<string> {
  const { code, stdout } = await execa(qemu, ['--version'], { reject: false, timeout: 10_000 });
  if (code === 'ENOENT') throw toolMissing(qemu);
  return stdout.split('\n')[0] ?? '';
}

/**
 * Makes the writable overlay over a root disk of the store. The base and its format are named, never guessed: a raw
 * guest disk could otherwise claim to be an overlay over any file of the host.
 */
export async function createOverlay(
  qemuImg: string,
  { overlay, base, format }: { overlay: string; base: string; format: 'raw' | 'qcow2' },
): Promise<void> {
  const words = ['create', '-q', '-f', 'qcow2', '-b', base, '-F', format, overlay];
  const { code, failed, stderr } = await execa(qemuImg, words, { reject: false, timeout: 30_000 });
  if (code === 'ENOENT') throw toolMissing(qemuImg);
  if (failed)
    throw new UnideployError(
      'UD_GUEST_START',
      `no overlay over the root disk: ${stderr.trim().split('\n').at(-1) ?? ''}`,
      'check that the image is in the store and that its format (raw or qcow2) is the one in the config',
    );
}
